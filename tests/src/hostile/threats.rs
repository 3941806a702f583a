//! The list of threats, and who answers for each.
//!
//! It is the list of `tests/hostile/README.md`; a test holds that the two are the same, and that each threat
//! is answered for.

/// A threat.
#[derive(Clone, Copy, Debug)]
pub struct Threat {
    /// Its name in the list.
    pub row: &'static str,
    /// What holds it.
    pub held: Held,
}

/// What holds a threat.
#[derive(Clone, Copy, Debug)]
pub enum Held {
    /// Programs of this suite, at least one.
    Programs,
    /// These tests, as `path#test`.
    Tests(&'static [&'static str]),
    /// Nothing does, for this reason.
    Open(&'static str),
}

use Held::{Open, Programs, Tests};

const fn row(row: &'static str, held: Held) -> Threat {
    Threat { row, held }
}

/// All threats.
pub const THREATS: &[Threat] = &[
    row("U1", Programs),
    row("U2", Programs),
    row("U3", Programs),
    row("U4", Programs),
    row("U5", Programs),
    row("U6", Programs),
    row("U7", Programs),
    row("U8", Programs),
    row("U9", Programs),
    row("U10", Programs),
    row("U11", Programs),
    row("U12", Programs),
    row("U13", Programs),
    row("U14", Programs),
    row(
        "U15",
        Tests(&["host/src/confinement/tests.rs#a_worker_can_do_none_of_what_it_does_not_need"]),
    ),
    row("U16", Programs),
    row("U17", Programs),
    row("R1", Programs),
    row("R2", Programs),
    row("R3", Programs),
    row("R4", Programs),
    row("R5", Programs),
    row("R6", Programs),
    row("R7", Programs),
    row("R8", Programs),
    row("R9", Programs),
    row("R10", Programs),
    row("R11", Programs),
    row("R12", Programs),
    row("R13", Programs),
    row("R14", Programs),
    row("R15", Programs),
    row("R16", Programs),
    row(
        "R17",
        Tests(&["tests/tests/all/volumes.rs#pipes_sockets_and_devices_are_seen_and_never_opened"]),
    ),
    row("R18", Programs),
    row("R19", Programs),
    row("R20", Programs),
    row("R21", Programs),
    row("R22", Programs),
    row(
        "R23",
        Tests(&["host/src/session/tests/exchanges.rs#a_panic_is_a_failure_of_its_call_alone"]),
    ),
    row("R24", Programs),
    row("R25", Programs),
    row("R26", Programs),
    row("R27", Programs),
    row("R28", Programs),
    row("R29", Programs),
    row("R30", Programs),
    row("E1", Programs),
    row(
        "E2",
        Tests(&["tests/tests/all/volumes.rs#a_link_that_comes_and_goes_leads_nowhere_either"]),
    ),
    row("E3", Programs),
    row("E4", Programs),
    row("E5", Programs),
    row("E6", Programs),
    row(
        "E7",
        Tests(&["tests/tests/all/wasi.rs#clocks_tell_the_time_and_no_finer_than_a_millisecond"]),
    ),
    row(
        "E8",
        Open(
            "not claimed: against side channels of the processor there is what the engine does by itself",
        ),
    ),
    row("E9", Programs),
    row("E10", Programs),
    row("E11", Programs),
    row("E12", Programs),
    row(
        "E13",
        Tests(&[
            "tests/tests/all/links.rs#an_object_is_as_good_as_before_when_its_maker_was_swapped",
        ]),
    ),
    row("E14", Programs),
    row("E15", Programs),
    row("E16", Programs),
    row(
        "E17",
        Open(
            "by construction: the node makes one engine, and no type of the sandbox lets a second one in",
        ),
    ),
    row("P1", Programs),
    row("P2", Programs),
    row("P3", Programs),
    row("P4", Programs),
    row("P5", Programs),
    row("P6", Programs),
    row("P7", Programs),
    row("P8", Programs),
    row("P9", Programs),
    row("P10", Programs),
    row("P11", Programs),
    row("P12", Programs),
    row(
        "P13",
        Tests(&["tests/tests/all/tls.rs#no_session_is_resumed"]),
    ),
    row("P14", Programs),
    row(
        "P15",
        Open("the protocol has no compression: nothing can be sent that grows when it is unpacked"),
    ),
    row("P16", Programs),
    row("P17", Programs),
    row(
        "A1",
        Tests(&[
            "host/src/transport/client_trust/tests.rs#whatever_is_wrong_with_a_certificate_its_client_is_told_the_same",
        ]),
    ),
    row(
        "A2",
        Tests(&[
            "tests/tests/all/tokens.rs#a_token_expires",
            "host/src/transport/client_trust/tests.rs#certificates_are_good_from_their_first_second_to_their_last",
        ]),
    ),
    row(
        "A3",
        Tests(&[
            "tests/tests/all/tokens.rs#a_revoked_token_is_worth_nothing_at_once",
            "host/src/transport/client_trust/tests.rs#revocation_fails_closed",
            "host/src/transport/client_trust/tests.rs#a_bad_file_keeps_what_was_there",
        ]),
    ),
    row(
        "A4",
        Tests(&["tests/tests/all/tls.rs#no_session_is_resumed"]),
    ),
    row("A5", Programs),
    row(
        "A6",
        Tests(&[
            "tests/tests/all/certificates.rs#what_a_client_shows_belongs_together_or_it_stays_out",
            "host/src/transport/client_trust/tests.rs#only_one_name_of_one_form_says_who_somebody_is",
        ]),
    ),
    row("A7", Programs),
    row(
        "A8",
        Tests(&["tests/tests/all/secrets.rs#tokens_are_neither_logged_nor_stored"]),
    ),
    row(
        "A9",
        Tests(&[
            "tests/tests/all/certificates.rs#nobody_who_is_good_is_turned_away_while_files_are_replaced",
        ]),
    ),
];
