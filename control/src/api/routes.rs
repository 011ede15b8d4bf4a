//! The routes, and what each asks of the [`Backend`].

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use super::{Backend, IpCommand, Reply, Show};
use crate::netfilter::{Call, Program};
use crate::observe::body::Following;
use crate::observe::capture::{End, ID_HEADER, Request as CaptureRequest};
use crate::observe::trace::TraceRequest;
use crate::tc;

/// No command line is longer.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// No ruleset is longer.
const MAX_RULESET: usize = 64 << 20;

type Daemon = State<Arc<dyn Backend>>;

/// Everything: for the UNIX socket.
pub(super) fn all(backend: Arc<dyn Backend>) -> Router {
    let commands = Router::new()
        .route("/v1/ip", post(ip))
        .route("/v1/drops", get(|daemon, query| show(Show::Drops, daemon, query)))
        .route("/v1/lcores", get(|daemon, query| show(Show::Lcores, daemon, query)))
        .route("/v1/mem", get(|daemon, query| show(Show::Mem, daemon, query)))
        .route("/v1/nstat", get(nstat))
        .route("/v1/trace", post(trace))
        .route("/v1/bond", get(bond))
        .route("/v1/hooks", get(|daemon, query| show(Show::Hooks, daemon, query)))
        .route("/v1/nfqueue", get(|daemon, query| show(Show::Nfqueue, daemon, query)))
        .route("/v1/capture", post(capture))
        .route("/v1/capture/end", post(capture_end))
        .route("/v1/vlan", get(|daemon, query| show(Show::Vlans, daemon, query)))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(backend.clone());
    scrape(backend.clone()).merge(commands).merge(netfilter_routes(backend))
}

/// Programs of netfilter's and tc, whose texts may be long.
fn netfilter_routes(backend: Arc<dyn Backend>) -> Router {
    let program = |program| post(move |daemon, body| netfilter(program, daemon, body));
    Router::new()
        .route("/v1/iptables", program(Program::Iptables))
        .route("/v1/iptables-save", program(Program::IptablesSave))
        .route("/v1/iptables-restore", program(Program::IptablesRestore))
        .route("/v1/ipset", program(Program::Ipset))
        .route("/v1/tc", post(tc))
        .layer(DefaultBodyLimit::max(MAX_RULESET))
        .with_state(backend)
}

/// What a scraper may see: for TCP.
pub(super) fn scrape(backend: Arc<dyn Backend>) -> Router {
    Router::new().route("/metrics", get(metrics)).route("/healthz", get(healthz)).with_state(backend)
}

async fn ip(State(daemon): Daemon, body: Result<Json<IpCommand>, JsonRejection>) -> Response {
    match body {
        Ok(Json(command)) => Json(daemon.ip(&command.args)).into_response(),
        Err(rejection) => refuse(rejection),
    }
}

async fn netfilter(
    program: Program,
    State(daemon): Daemon,
    body: Result<Json<Call>, JsonRejection>,
) -> Response {
    match body {
        Ok(Json(call)) => Json(daemon.netfilter(program, &call)).into_response(),
        Err(rejection) => refuse(rejection),
    }
}

async fn tc(State(daemon): Daemon, body: Result<Json<tc::Call>, JsonRejection>) -> Response {
    match body {
        Ok(Json(call)) => Json(daemon.tc(&call)).into_response(),
        Err(rejection) => refuse(rejection),
    }
}

/// The answer is the capture, for as long as it goes on; one that is refused says so in a [`Reply`].
async fn capture(State(daemon): Daemon, body: Result<Json<CaptureRequest>, JsonRejection>) -> Response {
    let request = match body {
        Ok(Json(request)) => request,
        Err(rejection) => return refuse(rejection),
    };
    match daemon.capture(&request) {
        Ok((id, body)) => ([(ID_HEADER, id.to_string())], Body::new(body)).into_response(),
        Err(reply) => (StatusCode::CONFLICT, Json(reply)).into_response(),
    }
}

async fn capture_end(State(daemon): Daemon, body: Result<Json<End>, JsonRejection>) -> Response {
    match body.map(|Json(end)| daemon.capture_end(end.id)) {
        Ok(Some(totals)) => Json(totals).into_response(),
        Ok(None) => (StatusCode::NOT_FOUND, "no such capture\n").into_response(),
        Err(rejection) => refuse(rejection),
    }
}

fn refuse(rejection: JsonRejection) -> Response {
    match rejection {
        JsonRejection::JsonDataError(error) => bad_request(&error.body_text()),
        JsonRejection::JsonSyntaxError(error) => bad_request(&error.body_text()),
        other => (other.status(), format!("{}\n", other.body_text())).into_response(),
    }
}

fn bad_request(why: &str) -> Response {
    (StatusCode::BAD_REQUEST, format!("{why}\n")).into_response()
}

/// `?json=1` (or `true`) asks for JSON inside the reply.
async fn show(
    what: Show,
    State(daemon): Daemon,
    Query(query): Query<HashMap<String, String>>,
) -> Json<Reply> {
    Json(daemon.show(what, is_set(&query, "json")))
}

/// `?zeros=1` asks for counters that are zero too.
async fn nstat(daemon: Daemon, Query(query): Query<HashMap<String, String>>) -> Json<Reply> {
    show(Show::Nstat { zeros: is_set(&query, "zeros") }, daemon, Query(query)).await
}

/// `?name=bond0` asks for one.
async fn bond(State(daemon): Daemon, Query(query): Query<HashMap<String, String>>) -> Json<Reply> {
    Json(daemon.bond(query.get("name").map(String::as_str), is_set(&query, "json")))
}

fn is_set(query: &HashMap<String, String>, name: &str) -> bool {
    query.get(name).is_some_and(|value| matches!(value.as_str(), "1" | "true"))
}

/// Lines of JSON, as long as there are packets to come; or a [`Reply`] that says why not.
async fn trace(State(daemon): Daemon, body: Result<Json<TraceRequest>, JsonRejection>) -> Response {
    let request = match body {
        Ok(Json(request)) => request,
        Err(rejection) => return refuse(rejection),
    };
    match daemon.trace(&request) {
        Ok(source) => {
            let lines = [(header::CONTENT_TYPE, "application/jsonl")];
            (lines, Body::new(Following::new(source))).into_response()
        }
        Err(refusal) => (StatusCode::CONFLICT, Json(refusal)).into_response(),
    }
}

async fn metrics(State(daemon): Daemon) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], daemon.metrics()).into_response()
}

async fn healthz(State(daemon): Daemon) -> Response {
    match daemon.healthy() {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}
