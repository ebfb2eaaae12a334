//! Whether a value is what a schema says: the part of JSON Schema that the
//! description uses. A keyword that is not known here is a flaw of the schema,
//! so that nothing is passed over.

use serde_json::Value;

/// Keywords that say nothing about whether a value is right.
const NOTES: [&str; 5] = ["description", "examples", "default", "format", "required"];

/// Every way in which `value` is not what `schema` says. Members that an object
/// has beside the described ones are flaws too: clients read what is described.
pub fn flaws(all: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(all, schema, value, "$", &mut found);
    found
}

/// What a reference stands for, however long the way there is.
#[track_caller]
pub fn resolve<'a>(all: &'a Value, value: &'a Value) -> &'a Value {
    let Some(reference) = value["$ref"].as_str() else {
        return value;
    };
    let pointer = reference
        .strip_prefix('#')
        .expect("references stay in the document");
    let found = all.pointer(pointer);
    resolve(all, found.unwrap_or_else(|| panic!("{reference} leads nowhere")))
}

fn check(all: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        let holds = match keyword.as_str() {
            "$ref" => {
                check(all, resolve(all, schema), value, at, found);
                true
            }
            "type" => types(rule).any(|name| is(name, value)),
            "enum" => rule.as_array().unwrap().contains(value),
            "anyOf" => choices(all, rule, value) > 0,
            "oneOf" => choices(all, rule, value) == 1,
            "minimum" => value
                .as_f64()
                .is_none_or(|number| number >= rule.as_f64().unwrap()),
            "maximum" => value
                .as_f64()
                .is_none_or(|number| number <= rule.as_f64().unwrap()),
            "maxLength" => value
                .as_str()
                .is_none_or(|text| text.len() as u64 <= rule.as_u64().unwrap()),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(all, rule, item, &format!("{at}[{index}]"), found);
                }
                true
            }
            "properties" | "additionalProperties" => true,
            known if NOTES.contains(&known) => true,
            _ => false,
        };
        if !holds {
            found.push(format!("{at}: {value} is not {keyword} {rule}"));
        }
    }
    members(all, schema, value, at, found);
}

fn members(all: &Value, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
    let Some(object) = value.as_object() else { return };
    for name in schema["required"].as_array().into_iter().flatten() {
        if !object.contains_key(name.as_str().unwrap()) {
            found.push(format!("{at}: {name} is missing"));
        }
    }
    let described = schema["properties"].as_object();
    let others = schema.get("additionalProperties");
    for (name, member) in object {
        let at = format!("{at}.{name}");
        match (described.and_then(|all| all.get(name)), others) {
            (Some(schema), _) => check(all, schema, member, &at, found),
            (None, Some(schema)) if schema.is_object() => check(all, schema, member, &at, found),
            (None, Some(Value::Bool(true))) => {}
            (None, None) if described.is_none() => {}
            (None, _) => found.push(format!("{at} is not described")),
        }
    }
}

fn choices(all: &Value, schemas: &Value, value: &Value) -> usize {
    let schemas = schemas.as_array().unwrap().iter();
    schemas
        .filter(|schema| flaws(all, schema, value).is_empty())
        .count()
}

fn types(rule: &Value) -> impl Iterator<Item = &str> {
    let many = rule.as_array().into_iter().flatten();
    many.chain(rule.is_string().then_some(rule))
        .filter_map(Value::as_str)
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

#[test]
fn what_is_not_as_described_is_found() {
    use serde_json::json;
    let all = json!({"number": {"type": "integer", "minimum": 1, "maximum": 3}});
    let schema = json!({
        "type": "object",
        "required": ["a"],
        "properties": {"a": {"$ref": "#/number"}, "b": {"type": ["array", "null"], "items": {"enum": ["x"]}}},
    });
    let found = |value| flaws(&all, &schema, &value).len();
    assert_eq!(found(json!({"a": 1, "b": null})), 0);
    assert_eq!(found(json!({"a": 3, "b": ["x", "x"]})), 0);
    for wrong in [
        json!([]),
        json!({"b": null}),
        json!({"a": 4}),
        json!({"a": 0}),
        json!({"a": 1.5}),
        json!({"a": 1, "b": ["y"]}),
        json!({"a": 1, "b": {}}),
        json!({"a": 1, "c": 1}),
    ] {
        assert_eq!(found(wrong.clone()), 1, "{wrong}");
    }
    let one = json!({"oneOf": [{"type": "number"}, {"type": "integer"}]});
    assert_eq!(flaws(&all, &one, &json!(1)).len(), 1);
    assert!(flaws(&all, &one, &json!(1.5)).is_empty());
    assert_eq!(flaws(&all, &json!({"minimun": 1}), &json!(1)).len(), 1);
}
