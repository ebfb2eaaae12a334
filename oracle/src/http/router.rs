//! Every route, and what is answered where there is none.

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderValue;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, get, post};

use prometheus::Registry;

use super::error::Refusal;
use super::{Api, chat, cors, envelope, guard, health, metrics, models, openapi, system};
use crate::network::Network;

/// One path, its methods as the `Allow` header names them, and who answers.
struct Route {
    path: &'static str,
    allow: &'static str,
    methods: MethodRouter<Api>,
}

fn routes() -> Vec<Route> {
    let reads = |path, methods| Route {
        path,
        allow: "GET, HEAD",
        methods,
    };
    vec![
        Route {
            path: chat::PATH,
            allow: "POST",
            methods: post(chat::completions),
        },
        reads("/v1/models", get(models::list)),
        reads("/v1/models/{id}", get(models::one)),
        reads("/v1/system/topology", get(system::topology)),
        reads("/v1/system/peers", get(system::peers)),
        reads("/health", get(health::health)),
        reads("/ready", get(health::ready)),
        reads("/metrics", get(metrics::metrics)),
        reads("/openapi.json", get(openapi::openapi)),
    ]
}

/// Each method of each route.
#[cfg(test)]
pub(super) fn every_route() -> Vec<(&'static str, &'static str)> {
    let methods = |route: Route| route.allow.split(", ").map(move |method| (method, route.path));
    routes().into_iter().flat_map(methods).collect()
}

/// The whole API, with the scouts' own door beside it.
pub fn router(api: Api, scouts: Router) -> Router {
    let mut router = Router::new();
    for Route { path, allow, methods } in routes() {
        let refuse = move || async move { Refusal::WrongMethod { allow } };
        router = router.route(path, methods.fallback(refuse));
    }
    let router = router
        .fallback(|| async { Refusal::UnknownPath })
        .with_state(api.clone())
        .merge(scouts);
    wrapped(router, api)
}

/// With all around it that every answer has.
pub(super) fn wrapped(router: Router, api: Api) -> Router {
    let cors = cors::layer(&api.0.settings.cors_origins);
    router
        .layer(from_fn_with_state(api.clone(), guard::guard))
        .layer(from_fn_with_state(api.clone(), envelope::caught))
        .layer(cors)
        .layer(from_fn_with_state(api, envelope::envelope))
}

/// What is answered while the model is being loaded, which may take minutes.
pub fn loading_router(cors_origins: &[HeaderValue], network: Arc<dyn Network>, registry: Registry) -> Router {
    let cors = cors::layer(cors_origins);
    let origins = cors_origins.to_vec();
    let health = || async move { health::loading(&origins, network.manager()) };
    Router::new()
        .route("/health", get(health))
        .route("/metrics", get(|| async move { metrics::of(&registry) }))
        .route("/openapi.json", get(openapi::openapi))
        .fallback(|| async { Refusal::NotReady(health::LOADING) })
        .layer(cors)
        .layer(from_fn(envelope::named))
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::extract::Request;
    use serde_json::Value;
    use tower::ServiceExt as _;

    use super::*;

    /// A manager that is known, and was not reached yet.
    struct Managed;

    impl Network for Managed {
        fn accepts_scouts(&self) -> bool {
            true
        }

        fn peers(&self) -> Vec<crate::scouts::Peer> {
            Vec::new()
        }

        fn manager(&self) -> Option<crate::network::Manager> {
            Some(crate::network::Manager {
                url: "http://manager".into(),
                is_reachable: false,
            })
        }
    }

    #[tokio::test]
    async fn while_the_model_is_being_loaded_everybody_is_told_so() {
        let origins = shardman_serve::parse_origins("http://localhost:3000").unwrap();
        let ask = async |path: &str| {
            let request = Request::get(path)
                .header("origin", "http://localhost:3000")
                .body(Body::empty());
            let registry = Registry::new();
            let loaded = prometheus::IntCounter::new("so_far", "What is counted so far").unwrap();
            registry.register(Box::new(loaded)).unwrap();
            let router = loading_router(&origins, Arc::new(Managed), registry);
            let answer = router.oneshot(request.unwrap()).await.unwrap();
            let (parts, body) = answer.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            assert!(parts.headers.contains_key("x-request-id"));
            assert!(parts.headers.contains_key("access-control-allow-origin"));
            let body = String::from_utf8(body.to_vec()).unwrap();
            (parts, serde_json::from_str(&body).unwrap_or(Value::String(body)))
        };
        for path in ["/ready", "/v1/models", "/v1/chat/completions", "/none"] {
            let (parts, body) = ask(path).await;
            assert_eq!(
                (parts.status.as_u16(), &parts.headers["retry-after"]),
                (503, &5.into())
            );
            assert_eq!(body["error"]["code"], "not_ready");
            assert_eq!(body["detail"], health::LOADING);
        }
        let (parts, body) = ask("/health").await;
        assert_eq!(parts.status.as_u16(), 200);
        assert_eq!(
            (&body["status"], &body["bitnet_loaded"]),
            (&"error".into(), &false.into())
        );
        assert_eq!(
            (&body["rust_sidecar"], &body["rust_url"]),
            (&"disconnected".into(), &"http://manager".into())
        );
        let (parts, body) = ask("/metrics").await;
        assert_eq!(parts.status.as_u16(), 200);
        assert!(body.as_str().unwrap().contains("so_far 0"), "{body}");
        let (parts, body) = ask("/openapi.json").await;
        assert_eq!((parts.status.as_u16(), body["openapi"].is_string()), (200, true));
    }

    #[test]
    fn whatever_is_below_v1_asks_for_a_key() {
        for (_, path) in every_route() {
            assert_eq!(guard::is_guarded(path), path.starts_with("/v1/"), "{path}");
        }
        assert!(guard::is_guarded("/v1/none") && !guard::is_guarded(crate::scouts::PATH));
    }
}
