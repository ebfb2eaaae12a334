//! Renders the API's description as one HTML page.

use std::fmt::Write as _;

use serde_json::Value;

/// What the page loads. The variables and controls are the dashboard's.
const FILES: &str = "<link rel=\"stylesheet\" href=\"/assets/style.css\">\
                     <link rel=\"stylesheet\" href=\"/assets/docs.css\">\
                     <script type=\"module\" src=\"/assets/docs.js\"></script>";

/// The methods that a path can have, in the order in which they are shown.
pub(super) const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

/// The page for an OpenAPI description.
pub(super) fn render(openapi: &str) -> String {
    let description: Value = serde_json::from_str(openapi).unwrap_or_default();
    let mut page = String::new();
    let title = text(&description["info"]["title"]);
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>{title}: the API</title>{FILES}</head><body class=\"api\">\
         <a class=\"skip\" href=\"#main\">Skip to the content</a><main id=\"main\" tabindex=\"-1\">\
         <h1>{title} <small>{}</small></h1>{}<p><a href=\"/openapi.json\">openapi.json</a></p>",
        text(&description["info"]["version"]),
        paragraphs(&description["info"]["description"]),
    );
    let operations: Vec<_> = operations(&description).collect();
    page.push_str("<nav aria-label=\"Operations\"><ul>");
    for (at, operation) in &operations {
        let _ = write!(
            page,
            "<li><a href=\"#{}\">{}</a></li>",
            anchor(operation),
            heading(*at)
        );
    }
    page.push_str("</ul></nav>");
    for (at, operation) in operations {
        render_operation(&mut page, &description, at, operation);
    }
    render_schemas(&mut page, &description["components"]["schemas"]);
    page.push_str("</main><div id=\"said\" role=\"status\" aria-live=\"polite\"></div></body></html>\n");
    page
}

/// Every operation, with its method and its path.
fn operations(description: &Value) -> impl Iterator<Item = ((&str, &str), &Value)> {
    let paths = description["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        METHODS
            .into_iter()
            .filter_map(move |method| Some(((method, path.as_str()), item.get(method)?)))
    })
}

fn anchor(operation: &Value) -> String {
    format!("op-{}", text(&operation["operationId"]))
}

fn heading((method, path): (&str, &str)) -> String {
    format!(
        "<span class=\"method {method}\">{}</span> <code>{}</code>",
        method.to_uppercase(),
        escape(path)
    )
}

fn render_operation(page: &mut String, description: &Value, (method, path): (&str, &str), operation: &Value) {
    let _ = write!(
        page,
        "<section class=\"panel\" id=\"{}\" data-method=\"{method}\" data-path=\"{}\"><h2>{}</h2><h3>{}</h3>{}",
        anchor(operation),
        escape(path),
        heading((method, path)),
        text(&operation["summary"]),
        paragraphs(&operation["description"]),
    );
    let parameters = operation["parameters"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if !parameters.is_empty() {
        page.push_str("<table><tr><th>Parameter</th><th>In</th><th>Meaning</th></tr>");
        for parameter in parameters {
            let required = if parameter["required"] == true {
                " <em>required</em>"
            } else {
                ""
            };
            let _ = write!(
                page,
                "<tr><td><code>{}</code>{required}</td><td>{}</td><td>{}</td></tr>",
                text(&parameter["name"]),
                text(&parameter["in"]),
                text(&parameter["description"]),
            );
        }
        page.push_str("</table>");
    }
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    if !body.is_null() {
        let _ = write!(page, "<p>Body: {}</p>", kind(body));
    }
    page.push_str("<table class=\"answers\"><tr><th>Answer</th><th>Meaning</th><th>Body</th></tr>");
    for (status, answer) in operation["responses"].as_object().into_iter().flatten() {
        let answer = resolve(description, answer);
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(status),
            text(&answer["description"]),
            bodies(&answer["content"]),
        );
    }
    page.push_str("</table></section>");
}

/// What an answer's body can be.
fn bodies(content: &Value) -> String {
    let kinds = content.as_object().into_iter().flatten();
    let name = |(media, about): (&String, &Value)| match media.as_str() {
        "application/json" => kind(&about["schema"]),
        _ => format!("<code>{}</code>", escape(media)),
    };
    kinds.map(name).collect::<Vec<_>>().join(" or ")
}

fn render_schemas(page: &mut String, schemas: &Value) {
    for (name, schema) in schemas.as_object().into_iter().flatten() {
        let name = escape(name);
        let _ = write!(
            page,
            "<section class=\"panel\" id=\"{name}\"><h2><code>{name}</code></h2>{}",
            paragraphs(&schema["description"])
        );
        page.push_str("<table><tr><th>Field</th><th>Type</th><th>Meaning</th></tr>");
        let required = schema["required"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        for (field, about) in schema["properties"].as_object().into_iter().flatten() {
            let mark = if required.iter().any(|name| name == field) {
                " <em>required</em>"
            } else {
                ""
            };
            let _ = write!(
                page,
                "<tr><td><code>{}</code>{mark}</td><td>{}</td><td>{}</td></tr>",
                escape(field),
                kind(about),
                text(&about["description"]),
            );
        }
        page.push_str("</table>");
        for example in schema["examples"].as_array().into_iter().flatten() {
            let example = serde_json::to_string_pretty(example).unwrap_or_default();
            let _ = write!(
                page,
                "<details><summary>Example<span class=\"hidden\"> of {name}</span></summary><pre>{}</pre></details>",
                escape(&example)
            );
        }
        page.push_str("</section>");
    }
}

/// What a reference within the description stands for.
fn resolve<'a>(description: &'a Value, value: &'a Value) -> &'a Value {
    let pointer = value["$ref"]
        .as_str()
        .and_then(|reference| reference.strip_prefix('#'));
    pointer
        .and_then(|pointer| description.pointer(pointer))
        .unwrap_or(value)
}

/// What a schema calls for, in a word or a link.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"]
        .as_str()
        .and_then(|reference| reference.rsplit('/').next())
    {
        let name = escape(name);
        return format!("<a href=\"#{name}\">{name}</a>");
    }
    for choice in ["anyOf", "oneOf", "allOf"] {
        if let Some(schemas) = schema[choice].as_array() {
            return schemas.iter().map(kind).collect::<Vec<_>>().join(" or ");
        }
    }
    if let Some(words) = schema["enum"].as_array() {
        let words = words.iter().map(|word| format!("<code>{}</code>", text(word)));
        return words.collect::<Vec<_>>().join(", ");
    }
    match &schema["type"] {
        Value::String(name) if name == "array" => format!("list of {}", kind(&schema["items"])),
        Value::String(name) => escape(name),
        Value::Array(names) => names.iter().map(text).collect::<Vec<_>>().join(" or "),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => "any".to_owned(),
    }
}

fn paragraphs(value: &Value) -> String {
    let parts = value
        .as_str()
        .unwrap_or_default()
        .split("\n\n")
        .filter(|part| !part.is_empty());
    parts.map(|part| format!("<p>{}</p>", escape(part))).collect()
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_every_operation_and_escapes_what_it_shows() {
        let page = render(crate::http::OPENAPI);
        for part in [
            "<code>/connect</code>",
            "<code>/sessions/{session_id}</code>",
            "&lt;secret&gt;",
            "Body Too Large",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert!(!page.contains("<secret>"));
        let inline = ["<style", " style=", "<script>", "javascript:"];
        assert!(!inline.iter().any(|part| page.contains(part)));
        assert_eq!(page.matches("<script").count(), 1);
    }
}
