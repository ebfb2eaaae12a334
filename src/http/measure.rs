//! Counts and times the requests of one route. Its counters are found when the
//! router is made, so that a request costs a clock and two additions.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::Request;
use axum::response::Response;
use axum::routing::Route;
use axum::routing::future::RouteFuture;
use prometheus::HistogramTimer;
use tower::{Layer, Service};

use crate::metrics::RouteMetrics;

/// Put around the methods of a route.
#[derive(Clone, Debug)]
pub(super) struct Measure(pub(super) Arc<RouteMetrics>);

impl Layer<Route> for Measure {
    type Service = Measured;

    fn layer(&self, inner: Route) -> Measured {
        Measured {
            inner,
            metrics: Arc::clone(&self.0),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Measured {
    inner: Route,
    metrics: Arc<RouteMetrics>,
}

impl Service<Request> for Measured {
    type Response = Response;
    type Error = Infallible;
    type Future = Measuring;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<Request>::poll_ready(&mut self.inner, context)
    }

    fn call(&mut self, request: Request) -> Measuring {
        Measuring {
            timer: Some(self.metrics.duration.start_timer()),
            inner: self.inner.call(request),
            metrics: Arc::clone(&self.metrics),
        }
    }
}

/// A request on its way. One whose client goes away is not counted.
pub(super) struct Measuring {
    timer: Option<HistogramTimer>,
    inner: RouteFuture<Infallible>,
    metrics: Arc<RouteMetrics>,
}

impl Future for Measuring {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.inner).poll(context));
        if let Some(timer) = self.timer.take() {
            timer.observe_duration();
        }
        if let Ok(response) = &answer {
            self.metrics.answered(response.status().as_u16());
        }
        Poll::Ready(answer)
    }
}

impl Drop for Measuring {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            timer.stop_and_discard();
        }
    }
}
