//! An application that leaves logging and tokens to others: it imports both, and does not know
//! whether a module on the node answers, or a program somewhere else.

#![forbid(unsafe_code)]

use acme::auth::verifier;
use acme::log::logger::{self, Level};

rpc_guest::generate!({
    world: "acme:app/app",
    path: ["../wit/acme-log", "../wit/acme-auth", "wit"],
    generate_all,
});

struct App;

impl Guest for App {
    fn handle(token: String, request: String) -> Result<String, String> {
        let user = verifier::verify(&token).inspect_err(|reason| {
            logger::log(Level::Warn, &format!("refused: {reason}"));
        })?;
        logger::log(Level::Info, &format!("{user} asks: {request}"));
        let answer = answer(&user, &request).inspect_err(|reason| {
            logger::log(Level::Error, &format!("no answer for {user}: {reason}"));
        })?;
        logger::log(Level::Debug, &format!("answered {user}: {answer}"));
        Ok(answer)
    }
}

/// All that this application can do.
fn answer(user: &str, request: &str) -> Result<String, String> {
    match request.split_once(' ') {
        None if request == "whoami" => Ok(user.to_owned()),
        Some(("shout", text)) => Ok(text.to_uppercase()),
        _ => Err(format!(
            "no such request: {request:?}; there are `whoami` and `shout TEXT`"
        )),
    }
}

export!(App);

#[cfg(test)]
mod tests {
    use super::answer;

    #[test]
    fn answers_what_it_can() {
        assert_eq!(answer("ada", "whoami").as_deref(), Ok("ada"));
        assert_eq!(answer("ada", "shout it's me").as_deref(), Ok("IT'S ME"));
        for other in ["", "shout", "whoami now", "dance"] {
            assert!(answer("ada", other).is_err(), "{other:?}");
        }
    }
}
