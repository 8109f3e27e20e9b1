//! The OpenAPI 3.1 document, made from the types of [`super::api`]; `docs/openapi.json` is a copy of it, which a test compares.

use cordon_access::Purpose;
use cordon_audit::Event;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use super::api::{Asked, Me, Problem, Status, Table};
use super::encode::Form;

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
    let paths = json!({
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

fn content<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    json!({ "application/json": { "schema": schemas.subschema_for::<T>() } })
}
