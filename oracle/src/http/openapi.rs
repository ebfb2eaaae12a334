//! `GET /openapi.json`: the description of this API.

use axum::response::Response;

use super::error::ok_text;

/// As it is checked in. A test compares it with the routes and their answers.
pub(super) const TEXT: &str = include_str!("../../openapi.json");

pub(super) async fn openapi() -> Response {
    ok_text("application/json", TEXT)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::super::{guard, router};
    use super::TEXT;

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let all: Value = serde_json::from_str(TEXT).unwrap();
        let paths = all["paths"].as_object().unwrap();
        let described: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, item)| {
                let methods = item.as_object().unwrap().keys();
                methods.map(move |method| (method.to_uppercase(), path.clone()))
            })
            .collect();
        // Whatever is read can be asked for without its body.
        let routes: BTreeSet<(String, String)> = router::every_route()
            .into_iter()
            .filter(|(method, _)| *method != "HEAD")
            .map(|(method, path)| (method.to_owned(), path.to_owned()))
            .collect();
        assert_eq!(described, routes);
        assert_eq!(all["info"]["version"], env!("CARGO_PKG_VERSION"));
        for (path, item) in paths {
            for operation in item.as_object().unwrap().values() {
                let keys = operation["security"].as_array().unwrap();
                assert_eq!(!keys.is_empty(), guard::is_guarded(path), "{path}");
                let answers = operation["responses"].as_object().unwrap();
                for status in ["401", "429"] {
                    assert_eq!(answers.contains_key(status), guard::is_guarded(path), "{path}");
                }
            }
        }
    }
}
