//! The OpenAPI 3.1 document, made from the types of [`super::api`]; `docs/openapi.json` is a copy of it, which a test compares.

use cordon_access::Purpose;
use cordon_audit::Event;
use cordon_pipeline::reveal::Told;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use super::api::{Asked, Me, Problem, Status, Table};
use super::encode::Form;
use super::tokens::{Decision, NewTokenRequest, Nothing, RevealedTokens, TranslatedTokens, VERBS, Wanted};

pub fn text() -> String {
    serde_json::to_string_pretty(&document()).unwrap_or_default()
}

fn document() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut schemas = settings.into_generator();
    let asked = content::<Asked>(&mut schemas);
    let tables =
        json!({ "application/json": { "schema": { "type": "array", "items": schemas.subschema_for::<Table>() } } });
    let me = content::<Me>(&mut schemas);
    let status = content::<Status>(&mut schemas);
    let problem = json!({ "application/problem+json": { "schema": schemas.subschema_for::<Problem>() } });
    let refusals = |more: &[(&str, &str)]| {
        let mut all = serde_json::Map::new();
        let common = [
            ("400", "The request is not one that this takes."),
            ("401", "Log in first, or again."),
            ("403", "You may not."),
            ("429", "Too many log-ins failed, or too many of your queries run. `Retry-After` says when to come again."),
            ("503", "The server does as much as it may, is being stopped, or cannot reach what it needs."),
        ];
        for (code, what) in common.iter().chain(more) {
            all.insert((*code).to_owned(), json!({ "description": what, "content": problem }));
        }
        all
    };
    let answered = |what: &str, content: Value, more: &[(&str, &str)]| {
        let mut all = refusals(more);
        all.insert("200".to_owned(), json!({ "description": what, "content": content }));
        all
    };
    let rows: serde_json::Map<String, Value> = Form::ALL
        .into_iter()
        .map(|form| {
            let schema = match form {
                Form::Json => json!({ "type": "array", "items": { "type": "object" } }),
                _ => json!({ "type": "string" }),
            };
            (form.media_type().to_owned(), json!({ "schema": schema }))
        })
        .collect();
    let parameter = |name: &str, required: bool, what: &str| json!({ "name": name, "in": "query", "required": required, "description": what, "schema": { "type": "string" } });
    let one_of = |name: &str, required: bool, what: &str, all: &[&str]| json!({ "name": name, "in": "query", "required": required, "description": what, "schema": { "type": "string", "enum": all } });
    let usage = || {
        vec![
            one_of("purpose", true, "The purpose of use.", &Purpose::ALL.map(Purpose::name)),
            parameter("project", false, "The research project, where the purpose is research."),
            parameter("reason", false, "Why, in your own words, where the purpose asks for it."),
        ]
    };
    let mut audit_parameters = usage();
    audit_parameters.push(json!({
        "name": "last", "in": "query", "required": false, "description": "Of the entries that fit, so many at the end.",
        "schema": { "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 },
    }));
    audit_parameters.push(one_of("kind", false, "Entries of one kind.", Event::KINDS));
    audit_parameters.push(parameter("principal", false, "Entries of one user."));
    let plain = |what: &str| {
        json!({ "get": {
            "summary": what, "security": [],
            "responses": { "200": { "description": "Yes.", "content": { "text/plain": { "schema": { "type": "string" } } } },
                "503": { "description": "No.", "content": problem } },
        } })
    };
    let query_errors = [
        ("404", "No such table exists for you."),
        ("406", "No form of answer that you take."),
        ("408", "The request did not come in time."),
        ("413", "The request is larger than may be."),
        ("415", "The request is not JSON."),
        ("422", "The query failed on the data it is about, or its answer has more rows than may be."),
        ("504", "The query took longer than may be."),
        ("507", "The query needs more memory than there is."),
    ];
    let mut paths = json!({
        "/v1/query": { "post": {
            "summary": "Ask. Rows come as they are computed; an answer that ends early is cut off and not closed.",
            "operationId": "query",
            "requestBody": { "required": true, "content": asked },
            "responses": answered("Rows.", Value::Object(rows), &query_errors),
        } },
        "/v1/tables": { "get": {
            "summary": "The tables that exist for you.", "operationId": "tables", "parameters": usage(),
            "responses": answered("Tables.", tables, &[]),
        } },
        "/v1/policies": { "get": {
            "summary": "Who you are, what you may see, and what in the policy says so.", "operationId": "policies",
            "parameters": usage(), "responses": answered("Decisions.", me, &[]),
        } },
        "/v1/audit": { "get": {
            "summary": "Entries of the audit log; it takes the action `read-audit`.", "operationId": "audit",
            "parameters": audit_parameters,
            "responses": answered("Entries.",
                json!({ "application/json": { "schema": { "type": "array", "items": { "type": "object" } } } }), &[]),
        } },
        "/v1/status": { "get": {
            "summary": "Your session and the server.", "operationId": "status",
            "responses": answered("Status.", status, &[]),
        } },
        "/healthz": plain("Whether the process is alive."),
        "/readyz": plain("Whether it takes queries."),
        "/openapi.json": { "get": {
            "summary": "This document.", "security": [],
            "responses": { "200": { "description": "OpenAPI 3.1.", "content": { "application/json": { "schema": { "type": "object" } } } } },
        } },
    });
    let of_tokens = tokens(&mut schemas, &answered);
    if let (Some(paths), Value::Object(of_tokens)) = (paths.as_object_mut(), of_tokens) {
        paths.extend(of_tokens);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Cordon",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Questions about de-identified tables, for who may ask them. Every question states its purpose of use.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "security": [{ "token": [] }, { "password": [] }, { "certificate": [] }, { "ticket": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
                "password": { "type": "http", "scheme": "basic" },
                "certificate": { "type": "mutualTLS" },
                "ticket": { "type": "http", "scheme": "negotiate" },
            },
        },
    })
}

type Answered<'a> = &'a dyn Fn(&str, Value, &[(&str, &str)]) -> serde_json::Map<String, Value>;

/// Requests that take two persons.
fn tokens(schemas: &mut SchemaGenerator, answered: Answered<'_>) -> Value {
    let told = content::<Told>(schemas);
    let list =
        json!({ "application/json": { "schema": { "type": "array", "items": schemas.subschema_for::<Told>() } } });
    let errors = [
        ("404", "There is no such request, or you have no part in it."),
        ("408", "The request did not come in time."),
        ("409", "The request is not, or no longer, in a state for this."),
        ("413", "The request is larger than may be."),
        ("415", "The request is not JSON."),
    ];
    let id = json!([{
        "name": "id", "in": "path", "required": true, "description": "The request's name.", "schema": { "type": "string" },
    }]);
    let mut paths = json!({
        "/v1/tokens": {
            "get": {
                "summary": "The requests that you have a part in; the newest last, without their tokens.", "operationId": "tokenRequests",
                "responses": answered("Requests.", list, &[]),
            },
            "post": {
                "summary": "Ask to see what tokens stand for. It opens nothing before another person approves.",
                "operationId": "requestTokens", "requestBody": { "required": true, "content": content::<NewTokenRequest>(schemas) },
                "responses": answered("The request.", told.clone(), &errors),
            },
        },
        "/v1/tokens/{id}": { "get": {
            "summary": "One request, for who has a part in it.", "operationId": "tokenRequest", "parameters": id,
            "responses": answered("The request.", told.clone(), &errors),
        } },
    });
    for verb in VERBS {
        let (what, body, answer) = match verb {
            "approve" => ("Approve it, as another person than who asked.", content::<Decision>(schemas), told.clone()),
            "reject" => ("Reject it.", content::<Decision>(schemas), told.clone()),
            "revoke" => ("Close it for good.", content::<Decision>(schemas), told.clone()),
            "reveal" => (
                "What its tokens stand for, for who asked, once approved: PHI. Each token is on the record before the answer.",
                content::<Wanted>(schemas),
                content::<RevealedTokens<'_>>(schemas),
            ),
            _ => (
                "Which tokens of the one recipient are which of the other, for who asked, once approved.",
                content::<Nothing>(schemas),
                content::<TranslatedTokens>(schemas),
            ),
        };
        let path = json!({ "post": {
            "summary": what, "operationId": format!("{verb}Tokens"), "parameters": id,
            "requestBody": { "required": true, "content": body }, "responses": answered("Done.", answer, &errors),
        } });
        if let Some(paths) = paths.as_object_mut() {
            paths.insert(format!("/v1/tokens/{{id}}/{verb}"), path);
        }
    }
    paths
}

fn content<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    json!({ "application/json": { "schema": schemas.subschema_for::<T>() } })
}
