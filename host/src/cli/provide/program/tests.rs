//! The program is a shell here, which is wherever these tests run.

use super::*;
use rpc_host_protocol::Type;
use rpc_host_protocol::cbor::encode_arguments;
use rpc_host_protocol::types::Field;

fn shell(script: &str) -> Program {
    let command = ["sh", "-c", script].map(OsString::from);
    Program::start(&command).unwrap()
}

async fn ask(program: &Program, function: &str, argument: &str) -> Result<Vec<u8>, String> {
    let signature = Signature {
        parameters: vec![Field {
            name: "a".into(),
            ty: Type::String,
        }],
        result: Some(Type::String),
    };
    let arguments = [rpc_host_protocol::Value::String(argument.into())];
    let arguments = encode_arguments(&arguments, &[]);
    let answer = program.ask(function, &arguments, &signature);
    let answer = tokio::time::timeout(Duration::from_secs(20), answer).await;
    let answer = answer.expect("an answer within the time");
    match answer {
        Ok(answer) => Ok(format!("{answer:?}").into_bytes()),
        Err(error) => Err(error.to_string()),
    }
}

fn text(value: &str) -> Result<Vec<u8>, String> {
    let value =
        rpc_host_protocol::cbor::encode_value(&rpc_host_protocol::Value::String(value.into()));
    Ok(format!("{:?}", Answer::raw(value)).into_bytes())
}

#[tokio::test]
async fn a_program_answers_line_by_line() {
    let program = shell(
        r#"n=0; while read -r line; do n=$((n + 1)); echo "{\"id\": $n, \"ok\": \"${#line}\"}"; done"#,
    );
    let line = r#"{"id":1,"function":"f","args":["x"]}"#;
    assert_eq!(ask(&program, "f", "x").await, text(&line.len().to_string()));
    assert_eq!(
        ask(&program, "f", "four").await,
        text(&(line.len() + 3).to_string())
    );
}

#[tokio::test]
async fn answers_may_come_in_another_order() {
    let program = shell(
        r#"read -r a; read -r b; echo '{"id": 2, "ok": "second"}'; echo '{"id": 1, "ok": "first"}'; read -r c"#,
    );
    let (first, second) = tokio::join!(ask(&program, "f", "a"), ask(&program, "f", "b"));
    assert_eq!((first, second), (text("first"), text("second")));
}

#[tokio::test]
async fn a_bad_line_fails_its_call_and_nothing_else() {
    let program = shell(
        r#"read -r a; echo 'starting…'
           read -r a; echo '{"id": 99, "ok": "x"}'; echo; echo '{"id": 2, "ok": 5}'
           read -r a; echo '{"id": 3, "ok": "x", "more": 1}'
           read -r a; echo '{"id": 4, "err": "out of paper"}'
           read -r a; head -c 17000000 /dev/zero; echo
           read -r a; echo '{"id": 6, "ok": "fine"}'; read -r a"#,
    );
    for problem in [
        "no answer: it is no JSON",
        "result: expected string, got a number",
        "\"more\", which means nothing here",
        "out of paper",
        "more than 16777216 bytes",
    ] {
        let error = ask(&program, "f", "x").await.unwrap_err();
        assert!(error.contains(problem), "{error}");
    }
    assert_eq!(ask(&program, "f", "x").await, text("fine"));
}

#[tokio::test]
async fn the_end_of_the_program_ends_its_calls() {
    let program = shell("read -r a; exit 3");
    let (answer, ended) = tokio::join!(ask(&program, "f", "x"), program.ended());
    assert!(answer.unwrap_err().contains("sh has ended"));
    assert!(
        format!("{ended:?}").contains("sh ended: exit status: 3"),
        "{ended:?}"
    );
    assert!(
        ask(&program, "f", "x")
            .await
            .unwrap_err()
            .contains("sh has ended")
    );

    let program = shell("exec >&-; while read -r a; do :; done");
    let ended = format!("{:?}", program.ended().await);
    assert!(ended.contains("closed its stdout"), "{ended}");
}

#[tokio::test]
async fn a_program_that_does_not_read_holds_up_its_calls_alone() {
    let program = shell(r#"read -r go; sleep 1000"#);
    let long = "x".repeat(1 << 20);
    for _ in 0..3 {
        let call = ask(&program, "f", &long);
        let outcome = tokio::time::timeout(Duration::from_millis(100), call).await;
        assert!(outcome.is_err(), "nobody reads it, so nobody answers");
    }
    assert_eq!(
        program.shared.awaited().answers.len(),
        0,
        "all were cancelled"
    );
}

#[tokio::test]
async fn a_late_answer_is_dropped() {
    let program = shell(
        r#"read -r a; read -r b; echo '{"id": 1, "ok": "late"}'; echo '{"id": 2, "ok": "timely"}'; read -r c"#,
    );
    let call = ask(&program, "f", "x");
    let cancelled = tokio::time::timeout(Duration::from_millis(50), call).await;
    assert!(cancelled.is_err());
    assert_eq!(ask(&program, "f", "x").await, text("timely"));
}

#[tokio::test]
async fn a_program_is_killed_with_the_last_that_holds_it() {
    let program = shell("echo $$ >&2; while :; do sleep 1000; done");
    let mut ended = program.shared.ended.clone();
    let clone = program.clone();
    drop(program);
    assert!(ended.has_changed().is_ok(), "a clone holds it");
    drop(clone);
    // The task that holds the child is gone, and the child with it.
    assert!(ended.changed().await.is_err());
}

#[tokio::test]
async fn a_program_that_is_not_there_is_an_error() {
    let error = Program::start(&["/no/such/program".into()]).unwrap_err();
    assert!(format!("{error:?}").contains("cannot start /no/such/program"));
    assert!(Program::start(&[]).is_err());
}
