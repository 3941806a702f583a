//! What is said between this command and the program that serves for it: one JSON object a line.

use rpc_host_client::{ErrorCode, ProviderError};
use rpc_host_protocol::cbor::{decode_arguments, encode_value};
use rpc_host_protocol::json::{from_json, to_json};
use rpc_host_protocol::value::ValueLimits;
use rpc_host_protocol::{Signature, Type};
use serde::Serialize;
use serde_json::{Map, Value as Json};

/// The key of each line, and what an answer has beside it.
const ID: &str = "id";
const OK: &str = "ok";
const ERR: &str = "err";

/// The line of a call, with its end.
pub(super) fn question(
    id: u64,
    function: &str,
    arguments: &[u8],
    signature: &Signature,
) -> Result<Vec<u8>, ProviderError> {
    let arguments = decode_arguments(arguments, signature, ValueLimits::default())
        .map_err(|error| ProviderError::new(error.to_string()).with_code(ErrorCode::Internal))?;
    let question = Question {
        id,
        function,
        args: arguments.iter().map(to_json).collect(),
    };
    let mut line = serde_json::to_vec(&question)
        .map_err(|error| ProviderError::new(error.to_string()).with_code(ErrorCode::Internal))?;
    line.push(b'\n');
    Ok(line)
}

/// In this order, so that a script can find its way without a parser.
#[derive(Serialize)]
struct Question<'a> {
    id: u64,
    function: &'a str,
    args: Vec<Json>,
}

/// What an answer holds beside its id: `{"ok": VALUE}` or `{"err": VALUE}`.
#[derive(Debug, PartialEq)]
pub(super) struct Outcome(Result<Json, Json>);

/// A line that is no answer: whose it is, as far as that can be told, and what is wrong with it.
#[derive(Debug, PartialEq)]
pub(super) struct BadLine {
    pub(super) id: Option<u64>,
    pub(super) problem: String,
}

/// The answer that a line is.
pub(super) fn answer(line: &[u8]) -> Result<(u64, Outcome), BadLine> {
    let bad = |id, problem: &str| BadLine {
        id,
        problem: problem.to_owned(),
    };
    let json: Json = serde_json::from_slice(line).map_err(|error| BadLine {
        id: None,
        problem: format!("it is no JSON: {error}"),
    })?;
    let Json::Object(mut object) = json else {
        return Err(bad(None, "it is no JSON object"));
    };
    let Some(id) = object.remove(ID).as_ref().and_then(Json::as_u64) else {
        return Err(bad(None, "it has no id"));
    };
    let outcome = match (object.remove(OK), object.remove(ERR)) {
        (Some(_), Some(_)) => return Err(bad(Some(id), "it has both an ok and an err")),
        (None, Some(err)) => Err(err),
        (ok, None) => Ok(ok.unwrap_or(Json::Null)),
    };
    match object.keys().next() {
        None => Ok((id, Outcome(outcome))),
        Some(key) => Err(BadLine {
            id: Some(id),
            problem: format!("it has {key:?}, which means nothing here"),
        }),
    }
}

impl Outcome {
    /// What the function gives, as the wire has it. Of a function that returns a WIT `result`, `err` is a
    /// value; of any other it is a failure of the program.
    pub(super) fn value(self, signature: &Signature) -> Result<Vec<u8>, ProviderError> {
        let ty = signature.result.as_ref();
        let json = match (self.0, ty) {
            (Ok(payload), Some(Type::Result(_))) => tagged(OK, payload),
            (Err(payload), Some(Type::Result(_))) => tagged(ERR, payload),
            (Ok(value), _) => value,
            (Err(Json::String(text)), _) => return Err(ProviderError::new(text)),
            (Err(other), _) => return Err(ProviderError::new(other.to_string())),
        };
        let Some(ty) = ty else {
            return match json {
                Json::Null => Ok(NULL.to_vec()),
                _ => Err(ProviderError::new(
                    "the program answered with a value to a function that returns nothing",
                )),
            };
        };
        match from_json(&json, ty, "result") {
            Ok(value) => Ok(encode_value(&value)),
            Err(error) => Err(ProviderError::new(format!(
                "the program answered with what is not of the function's type: {error}"
            ))),
        }
    }
}

/// CBOR's null.
const NULL: &[u8] = &[0xf6];

fn tagged(case: &str, payload: Json) -> Json {
    Json::Object(Map::from_iter([(case.to_owned(), payload)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpc_host_protocol::Value;
    use rpc_host_protocol::cbor::{decode_value, encode_arguments};
    use rpc_host_protocol::types::{Field, ResultType};
    use std::sync::Arc;

    fn signature(result: Option<Type>) -> Signature {
        let parameter = |name: &str, ty| Field {
            name: name.into(),
            ty,
        };
        Signature {
            parameters: vec![
                parameter("level", Type::String),
                parameter("bytes", Type::List(Arc::new(Type::U8))),
            ],
            result,
        }
    }

    #[test]
    fn a_call_is_one_line() {
        let values = [Value::String("a\nb".into()), Value::Bytes(vec![1, 2])];
        let arguments = encode_arguments(&values, &[]);
        let line = question(7, "log-line", &arguments, &signature(None)).unwrap();
        assert_eq!(
            String::from_utf8(line).unwrap(),
            "{\"id\":7,\"function\":\"log-line\",\"args\":[\"a\\nb\",[1,2]]}\n"
        );
        assert!(question(7, "f", &[0x80, 0xa0], &signature(None)).is_err());
    }

    #[test]
    fn answers_are_read_by_the_type_of_the_function() {
        let result = Type::Result(ResultType {
            ok: Some(Arc::new(Type::U8)),
            err: Some(Arc::new(Type::String)),
        });
        let read = |line: &str, ty: Option<&Type>| {
            let (id, outcome) = answer(line.as_bytes()).unwrap();
            assert_eq!(id, 3);
            let bytes = outcome.value(&signature(ty.cloned()));
            let bytes = bytes.map_err(|error| error.to_string())?;
            let Some(ty) = ty else {
                assert_eq!(bytes, NULL);
                return Ok(None);
            };
            Ok(Some(
                decode_value(&bytes, ty, "result", ValueLimits::default()).unwrap(),
            ))
        };
        let payload = |value| Some(Box::new(value));
        for (line, ty, expected) in [
            (
                r#"{"id": 3, "ok": 5}"#,
                Some(&Type::U8),
                Ok(Some(Value::U8(5))),
            ),
            (r#"{"id": 3}"#, None, Ok(None)),
            (r#"{"id": 3, "ok": null}"#, None, Ok(None)),
            (
                r#"{"ok": 5, "id": 3}"#,
                Some(&result),
                Ok(Some(Value::Result(Ok(payload(Value::U8(5)))))),
            ),
            (
                r#"{"id": 3, "err": "no"}"#,
                Some(&result),
                Ok(Some(Value::Result(Err(payload(Value::String(
                    "no".into(),
                )))))),
            ),
            (
                r#"{"id": 3, "err": "no"}"#,
                Some(&Type::U8),
                Err("unknown: no".to_owned()),
            ),
            (
                r#"{"id": 3, "err": {"a": 1}}"#,
                None,
                Err(r#"unknown: {"a":1}"#.to_owned()),
            ),
        ] {
            assert_eq!(read(line, ty), expected, "{line}");
        }
        for (line, ty, problem) in [
            (r#"{"id": 3, "ok": 5}"#, None, "returns nothing"),
            (
                r#"{"id": 3, "ok": 256}"#,
                Some(&Type::U8),
                "result: 256 is out of range",
            ),
            (
                r#"{"id": 3, "ok": "x"}"#,
                Some(&result),
                "result.ok: expected u8",
            ),
        ] {
            let error = read(line, ty).unwrap_err();
            assert!(error.contains(problem), "{line}: {error}");
        }
    }

    #[test]
    fn a_bad_line_tells_whose_it_is_as_far_as_it_does() {
        for (line, id, problem) in [
            ("hello", None, "it is no JSON"),
            ("[1]", None, "it is no JSON object"),
            (r#"{"ok": 1}"#, None, "it has no id"),
            (r#"{"id": -1, "ok": 1}"#, None, "it has no id"),
            (
                r#"{"id": 1, "ok": 1, "err": 2}"#,
                Some(1),
                "both an ok and an err",
            ),
            (r#"{"id": 1, "okay": 1}"#, Some(1), "\"okay\""),
        ] {
            let bad = answer(line.as_bytes()).unwrap_err();
            assert_eq!(bad.id, id, "{line}");
            assert!(bad.problem.contains(problem), "{line}: {}", bad.problem);
        }
    }
}
