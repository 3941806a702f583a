//! `call`: one call of one function, in WAVE.
//!
//! What the function gives goes to stdout, an `err` too: it is a value. That it is one is also said on
//! stderr and by the exit code.

use std::ffi::OsString;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use clap::Args;
use rpc_host_client::{Client, Error, ErrorCode, Lease, Scope};
use rpc_host_protocol::cbor::{decode_value, encode_arguments};
use rpc_host_protocol::json::to_json;
use rpc_host_protocol::value::{ValueError, ValueLimits};
use rpc_host_protocol::wave::{from_wave, to_wave};
use rpc_host_protocol::{Signature, Type, Value};

use super::call_text::CallText;
use super::connect::Connect;
use super::logs;
use super::print::{self, Output};
use super::problem::Problem;
use super::provide::Program;
use super::registration::once_each;

const QUOTING: &str =
    "put the whole call into single quotes, so that the shell leaves it as it is: 'f(1, \"text\")'";

#[derive(Debug, Args)]
pub(crate) struct Call {
    /// The registration
    name: String,
    /// The call in WAVE, such as 'add(2, 3)' or 'place({item-number: 7}, note = "soon")'
    #[arg(value_name = "FUNCTION(ARGS)", required = true)]
    call: Vec<String>,
    /// How long it may take, such as 5s or 200ms [default: what the node says]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
    /// Leave only such grants in force, for the call and all that it leads to: a pattern such as log, kv or
    /// fs:shared=ro, or none alone; may be repeated [default: what the modules are registered with]
    #[arg(long = "allow", value_name = "PATTERN")]
    allow: Vec<String>,
    /// Serve a name by a program, which is started without arguments, to this call and what it calls in
    /// turn; may be repeated. See `rpc-host provide --help` for what is said to the program
    #[arg(long = "provide", value_name = "NAME=PROGRAM", value_parser = stand_in)]
    stand_ins: Vec<(String, OsString)>,
    /// Show on stderr what the modules write that have a part in the call, line by line as they do
    #[arg(long)]
    stream: bool,
    #[command(flatten)]
    output: Output,
}

impl Call {
    pub(crate) async fn run(mut self, connect: &Connect) -> Result<(), Problem> {
        let text = self.text()?;
        let programs = once_each("provide", std::mem::take(&mut self.stand_ins))?;
        let client = connect.client().await?;
        let mut stand_ins = Vec::new();
        for (name, program) in programs {
            stand_ins.push(StandIn::start(&client, name, &program).await?);
        }
        // Who waits for an answer should not wait for one that cannot come.
        let end = first_end(&stand_ins);
        let result = tokio::select! {
            biased;
            result = self.make(&client, &text) => result?,
            problem = end => return Err(problem),
        };
        stand_ins.iter().for_each(StandIn::note_unused);
        match result {
            None if self.output.is_json() => print::stdout("null\n"),
            None => Ok(()),
            Some(value) => self.print(&value),
        }
    }

    /// Makes the call, and gives what the function returns, if it returns something.
    async fn make(&self, client: &Client, text: &CallText) -> Result<Option<Value>, Problem> {
        let description = client.describe(&self.name, Some(&text.function)).await;
        let description = description.map_err(|error| self.about(error))?;
        let Some(function) = description.functions.first() else {
            return Err(Problem::new("the node described no function"));
        };
        if let Some(why) = &function.undescribed {
            return Err(Problem::new(format!("{}: {why}", text.function)));
        }
        let signature = &function.signature;
        let arguments = arguments(text, signature)?;
        let mut call = client.module(self.name.as_str()).function(&text.function);
        if let Some(timeout) = self.timeout {
            call = call.timeout(timeout);
        }
        if !self.allow.is_empty() {
            call = call.allow(self.allow.clone());
        }
        if self.stream {
            call = call.output(|line| print::note(&logs::text(&line)));
        }
        let reply = call.call_raw(arguments).await;
        let reply = reply.map_err(|error| self.about(error))?;
        let Some(ty) = &signature.result else {
            return Ok(None);
        };
        // The bytes have passed the limit of a message, which bounds the items in them too.
        let limits = ValueLimits {
            max_items: u32::MAX,
            ..ValueLimits::default()
        };
        let value = decode_value(&reply.value, ty, "result", limits);
        Ok(Some(value.map_err(Error::Decode)?))
    }

    fn text(&self) -> Result<CallText, Problem> {
        let [text] = self.call.as_slice() else {
            let problem = "the call came as several words";
            return Err(Problem::usage(problem).or_hint(QUOTING));
        };
        CallText::parse(text)
            .map_err(|error| Problem::usage(format!("{error}: {text}")).or_hint(QUOTING))
    }

    fn print(&self, value: &Value) -> Result<(), Problem> {
        self.output
            .print(&to_json(value), |_| to_wave(value) + "\n")?;
        match value {
            Value::Result(Err(payload)) => Err(guest_error(payload.as_deref())),
            _ => Ok(()),
        }
    }

    fn about(&self, error: Error) -> Problem {
        let code = error.code();
        let problem = Problem::from(error);
        let name = &self.name;
        match code {
            ErrorCode::NotFound => problem.or_hint(format!(
                "`rpc-host list` shows the registrations, `rpc-host inspect {name}` the functions of one"
            )),
            ErrorCode::DeadlineExceeded => problem.or_hint(match self.timeout {
                Some(_) => "`--timeout` can be longer, up to what the node allows",
                None => "`--timeout DURATION` gives it longer, up to what the node allows",
            }),
            _ => problem,
        }
    }
}

/// A program that serves a name as long as this lives.
struct StandIn {
    name: String,
    program: Program,
    _lease: Lease,
}

impl StandIn {
    async fn start(client: &Client, name: String, program: &OsString) -> Result<Self, Problem> {
        let program = Program::start(std::slice::from_ref(program))?;
        let serving = program.clone();
        let serve = move |call| serving.clone().serve(call);
        let lease = client.provide(&name, serve, Scope::Session).await?;
        Ok(StandIn {
            name,
            program,
            _lease: lease,
        })
    }

    /// Whoever puts a stub in the place of something and hears nothing would think that it was used.
    fn note_unused(&self) {
        if !self.program.was_asked() {
            let name = &self.name;
            print::note(&format!(
                "warning: the call did not ask {name} of your program: nothing that it reached imports that \
                 name, or what does is sealed"
            ));
        }
    }
}

/// The end of the first program that ends.
async fn first_end(stand_ins: &[StandIn]) -> Problem {
    let mut ends: Vec<_> = stand_ins
        .iter()
        .map(|stand_in| Box::pin(stand_in.program.ended()))
        .collect();
    poll_fn(|context| {
        let mut ended = ends.iter_mut().map(|end| end.as_mut().poll(context));
        ended.find(Poll::is_ready).unwrap_or(Poll::Pending)
    })
    .await
}

fn stand_in(text: &str) -> Result<(String, OsString), String> {
    match text.split_once('=') {
        Some((name, program)) if !name.is_empty() && !program.is_empty() => {
            Ok((name.to_owned(), program.into()))
        }
        _ => Err("it is a name and a program with an equals sign between them".to_owned()),
    }
}

fn guest_error(payload: Option<&Value>) -> Problem {
    match payload {
        None => Problem::new("guest error"),
        Some(value) => Problem::new(format!("guest error: {}", to_wave(value))),
    }
}

/// The arguments as the wire has them. What is missing, the node says.
fn arguments(text: &CallText, signature: &Signature) -> Result<Vec<u8>, Problem> {
    let parameters = &signature.parameters;
    if text.positional.len() > parameters.len() {
        return Err(Problem::new(format!(
            "invalid-argument: args: expected {}, got {}: {signature}",
            parameters.len(),
            text.positional.len()
        )));
    }
    let mut positional = Vec::new();
    for (index, (text, parameter)) in text.positional.iter().zip(parameters).enumerate() {
        positional.push(value(text, &parameter.ty, &format!("args[{index}]"))?);
    }
    let mut named = Vec::new();
    for (name, text) in &text.named {
        let parameter = parameters
            .iter()
            .find(|parameter| *parameter.name == **name);
        let Some(parameter) = parameter else {
            return Err(Problem::new(format!(
                "invalid-argument: args.{name}: no such parameter; the function is {signature}"
            )));
        };
        named.push((
            name.clone(),
            value(text, &parameter.ty, &format!("args.{name}"))?,
        ));
    }
    Ok(encode_arguments(&positional, &named))
}

fn value(text: &str, ty: &Type, path: &str) -> Result<Value, Problem> {
    from_wave(text, ty, path).map_err(|ValueError { path, problem }| {
        let problem = Problem::new(format!("invalid-argument: {path}: {problem}"));
        if holds_text(ty) && !text.contains(['"', '\'']) {
            problem.or_hint(format!(
                "text is quoted in WAVE and the shell takes quotes away; {QUOTING}"
            ))
        } else {
            problem
        }
    })
}

/// Whether a value of this type may need quotes.
fn holds_text(ty: &Type) -> bool {
    ty.any(&|ty| matches!(ty, Type::String | Type::Char))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rpc_host_protocol::cbor::decode_arguments;
    use rpc_host_protocol::types::{Field, ResultType};
    use std::sync::Arc;

    fn signature() -> Signature {
        let parameter = |name: &str, ty| Field {
            name: name.into(),
            ty,
        };
        let items = Type::List(Arc::new(Type::Tuple(Arc::from([Type::String, Type::U8]))));
        Signature {
            parameters: vec![
                parameter("items", items),
                parameter("line-width", Type::Option(Arc::new(Type::F64))),
            ],
            result: None,
        }
    }

    fn parse(text: &str) -> Result<Vec<Value>, String> {
        let text = CallText::parse(text).unwrap();
        let bytes = arguments(&text, &signature()).map_err(|problem| format!("{problem:?}"))?;
        Ok(decode_arguments(&bytes, &signature(), ValueLimits::default()).unwrap())
    }

    #[test]
    fn arguments_are_read_by_their_type() {
        let items = Value::List(vec![
            Value::Tuple(vec![Value::String("a, (b".into()), Value::U8(1)]),
            Value::Tuple(vec![Value::String("=".into()), Value::U8(2)]),
        ]);
        let width = Value::Option(Some(Box::new(Value::F64(2.5))));
        let expected = vec![items, width];
        for text in [
            r#"f([("a, (b", 1), ("=", 2)], some(2.5))"#,
            r#"f([("a, (b", 1), ("=", 2)], 2.5)"#,
            r#"f([("a, (b", 1), ("=", 2)], line_width = 2.5)"#,
            r#"f(line-width = some(2.5), items = [("a, (b", 1), ("=", 2)])"#,
        ] {
            assert_eq!(parse(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_names_the_argument_and_helps_with_quotes() {
        let error = parse("f([(a, 1)])").unwrap_err();
        assert!(
            error.contains("args[0][0][0]: expected string, got a"),
            "{error}"
        );
        assert!(error.contains("single quotes"), "{error}");
        let error = parse(r#"f([("a", 300)])"#).unwrap_err();
        assert!(!error.contains("single quotes"), "{error}");
        let error = parse("f([], x = 1)").unwrap_err();
        assert!(
            error.contains("args.x: no such parameter; the function is func(items: "),
            "{error}"
        );
        let error = parse("f([], none, 3)").unwrap_err();
        assert!(error.contains("expected 2, got 3"), "{error}");
    }

    #[test]
    fn an_err_is_a_value_and_an_error() {
        let ty = Type::Result(ResultType {
            ok: None,
            err: Some(Arc::new(Type::String)),
        });
        let value = from_wave(r#"err("no")"#, &ty, "result").unwrap();
        let Value::Result(Err(payload)) = &value else {
            panic!("{value:?}");
        };
        let problem = format!("{:?}", guest_error(payload.as_deref()));
        assert!(problem.contains(r#"guest error: \"no\""#), "{problem}");
        assert_eq!(to_json(&value).to_string(), r#"{"err":"no"}"#);
    }
}
