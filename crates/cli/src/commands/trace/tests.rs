//! Golden texts of lives: what people see.

use jiff::Timestamp;
use serde_json::json;
use timeline::http::answer::{
    ErrorAnswer, Headline, LifeAnswer, MissingAnswer, NoteAnswer, ReadUntil, RowAnswer, TimelineAnswer,
    UnmaskAnswer, UnmaskedAnswer, UnreadableAnswer,
};

use crate::commands::trace::{life, unmask};

fn at(time: &str) -> Timestamp {
    format!("2026-03-01T{time}Z").parse().unwrap()
}

fn row(time: &str, kind: &str, status: Option<&str>, pointer: &str) -> RowAnswer {
    RowAnswer {
        at: at(time),
        happened_at: None,
        after_ms: None,
        kind: kind.to_owned(),
        replayed: false,
        status: status.map(str::to_owned),
        error: None,
        summary: String::new(),
        pointer: pointer.to_owned(),
        part: 0,
        ids: Vec::new(),
        body: None,
        clock_difference_ms: None,
    }
}

fn with_gaps(mut rows: Vec<RowAnswer>) -> Vec<RowAnswer> {
    for index in 1..rows.len() {
        rows[index].after_ms = Some(rows[index].at.as_millisecond() - rows[index - 1].at.as_millisecond());
    }
    rows
}

fn headline(status: &str) -> Headline {
    Headline {
        channel: "sales".to_owned(),
        bsp: "infobip".to_owned(),
        tenant: "acme".to_owned(),
        direction: "out".to_owned(),
        status: status.to_owned(),
        outcome: Some("ACCEPTED".to_owned()),
        command_id: Some("order-17".to_owned()),
        message_id: Some("imc-order-17".to_owned()),
        recipient: Some("…78".to_owned()),
        summary: "template order_update".to_owned(),
        began: at("10:00:00"),
        ended: at("10:00:09"),
    }
}

fn read_until(stream: &str, until: Option<&str>, behind: u64) -> ReadUntil {
    ReadUntil { stream: stream.to_owned(), until: until.map(at), sequence: 9, behind }
}

fn answer(life: LifeAnswer) -> TimelineAnswer {
    let read_until =
        vec![read_until("EVENTS", Some("10:16:03.25"), 0), read_until("COMMANDS", Some("10:16:04"), 0)];
    TimelineAnswer {
        id: "order-17".to_owned(),
        lives: vec![life],
        read_until,
        missed: Vec::new(),
        missed_left_out: 0,
        unreadable: Vec::new(),
        cut: false,
    }
}

fn plain(answer: &TimelineAnswer) -> String {
    life::lines(answer).iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_delivered_message_is_its_steps_aligned_in_time() {
    let mut command = row("10:00:00", "command", None, "COMMANDS/12");
    command.summary = "template order_update".to_owned();
    let mut attempt = row("10:00:00.05", "attempt", Some("ACCEPTED"), "EVENTS/5");
    attempt.summary = "200 OK, 48 ms".to_owned();
    let mut delivered = row("10:02:06.2", "report", Some("DELIVERED"), "EVENTS/8");
    delivered.clock_difference_ms = Some(-7_000);
    let rows = vec![
        command,
        attempt,
        row("10:00:00.12", "result", Some("ACCEPTED"), "EVENTS/5"),
        row("10:00:01.35", "report", Some("SENT"), "EVENTS/7"),
        delivered,
    ];
    let life = LifeAnswer {
        headline: headline("DELIVERED"),
        rows: with_gaps(rows),
        missing: Vec::new(),
        notes: Vec::new(),
    };
    let expected = "\
DELIVERED  template order_update  to …78  channel sales (infobip, acme)  command order-17  message imc-order-17
  2026-03-01 10:00:00.000              command      template order_update   COMMANDS/12
  2026-03-01 10:00:00.050      +50 ms  attempt      ACCEPTED 200 OK, 48 ms  EVENTS/5
  2026-03-01 10:00:00.120      +70 ms  result       ACCEPTED                EVENTS/5
  2026-03-01 10:00:01.350     +1.23 s  report       SENT                    EVENTS/7
  2026-03-01 10:02:06.200  +2 m 04 s   report       DELIVERED               EVENTS/8
                                                    happened 7.00 s before this by its own clock
Everything up to 2026-03-01 10:16:03.250 UTC is read.
";
    assert_eq!(plain(&answer(life)), expected.replace("+2 m 04 s   report", " +2 m 04 s  report"));
}

#[test]
fn what_is_missing_is_a_step_with_what_to_do() {
    let mut rejected = row("10:00:00.12", "result", Some("REJECTED"), "EVENTS/5");
    let (code, name, text) = ("7010".to_owned(), "EC_X".to_owned(), "no such template".to_owned());
    rejected.error = Some(ErrorAnswer { code, name, text });
    let rows = vec![row("10:00:00", "command", None, "COMMANDS/12"), rejected];
    let missing = MissingAnswer {
        rule: "no_report".to_owned(),
        since: at("10:00:00.12"),
        due: at("10:15:00.12"),
        text: "no report for 16 min".to_owned(),
        advice: "Ask the BSP.".to_owned(),
    };
    let notes = vec![NoteAnswer { row: 0, text: "waits: the lane is halted".to_owned() }];
    let mut answer = answer(LifeAnswer {
        headline: headline("REJECTED"),
        rows: with_gaps(rows),
        missing: vec![missing],
        notes,
    });
    answer.read_until[1].behind = 120;
    let expected = "\
REJECTED  template order_update  to …78  channel sales (infobip, acme)  command order-17  message imc-order-17
  2026-03-01 10:00:00.000              command                COMMANDS/12
                                                    waits: the lane is halted
  2026-03-01 10:00:00.120     +120 ms  result       REJECTED  EVENTS/5
                                                    7010 EC_X: no such template
  2026-03-01 10:15:00.120              missing      no report for 16 min (since 2026-03-01 10:00:00.120)
                                                    Ask the BSP.
Read up to 2026-03-01 10:16:03.250 UTC; 120 messages of COMMANDS are not read yet.
";
    assert_eq!(plain(&answer), expected);
    let colored: String = life::lines(&answer).iter().map(crate::output::Text::to_ansi).collect();
    assert!(colored.contains("\u{1b}[31mmissing      no report for 16 min\u{1b}[0m"), "{colored}");
}

#[test]
fn what_was_missed_and_cannot_be_read_is_said() {
    let life = LifeAnswer {
        headline: headline("ACCEPTED"),
        rows: vec![row("10:00:00", "command", None, "COMMANDS/12")],
        missing: Vec::new(),
        notes: Vec::new(),
    };
    let mut answer = answer(life);
    answer.missed_left_out = 12;
    let (part, text) = ("2026-03-01".to_owned(), "2026-03-01.sqlite is damaged".to_owned());
    answer.unreadable.push(UnreadableAnswer { part, text });
    let text = plain(&answer);
    assert!(
        text.contains("\n12 more ranges of messages were gone before the timeline read them.\n"),
        "{text}"
    );
    assert!(text.contains("\nNot readable: 2026-03-01: 2026-03-01.sqlite is damaged\n"), "{text}");
}

#[test]
fn escape_sequences_in_any_field_are_shown_and_have_no_effect() {
    const FOREIGN: &str = "<\u{1b}]0;owned\u{7}\u{9b}45m\u{202e}\n>";
    let foreign = || FOREIGN.to_owned();
    let mut row = row("10:00:00", FOREIGN, Some(FOREIGN), FOREIGN);
    row.summary = foreign();
    row.error = Some(ErrorAnswer { code: foreign(), name: foreign(), text: foreign() });
    let missing = MissingAnswer {
        rule: foreign(),
        since: at("10:00:00"),
        due: at("10:00:00"),
        text: foreign(),
        advice: foreign(),
    };
    let headline = Headline {
        channel: foreign(),
        bsp: foreign(),
        tenant: foreign(),
        status: foreign(),
        command_id: Some(foreign()),
        message_id: Some(foreign()),
        recipient: Some(foreign()),
        summary: foreign(),
        ..headline("")
    };
    let notes = vec![NoteAnswer { row: 0, text: foreign() }];
    let mut answer = answer(LifeAnswer { headline, rows: vec![row], missing: vec![missing], notes });
    answer.read_until.push(read_until(FOREIGN, None, 0));
    for line in life::lines(&answer) {
        let text = line.to_string();
        assert!(!text.contains(service::terminal::is_unsafe), "{text:?}");
        let ansi = line.to_ansi();
        assert!(!ansi.contains("45m\u{202e}") && !ansi.contains("\u{1b}]"), "{ansi:?}");
    }
}

#[test]
fn what_is_not_found_is_said_with_the_time_up_to_which_streams_are_read() {
    let problem = json!({
        "type": "about:blank", "title": "Not Found", "status": 404, "detail": "nothing with this id is stored",
        "id": "order-18", "read_until": [{"stream": "EVENTS", "sequence": 0, "behind": 0}],
    });
    let text = life::not_found(&problem);
    assert!(text.starts_with("order-18: nothing with this id is stored: "), "{text}");
    assert!(text.ends_with("\nThe timeline has not read EVENTS yet."), "{text}");
}

fn unmasked(pointer: &str, source: &str, content: serde_json::Value) -> UnmaskedAnswer {
    UnmaskedAnswer {
        pointer: pointer.to_owned(),
        kind: "dead_letter".to_owned(),
        at: at("10:00:00"),
        source: Some(source.to_owned()),
        content: Some(content),
        detail: None,
    }
}

#[test]
fn numbers_and_texts_are_shown_with_their_places_and_the_entry_of_the_audit_log() {
    let gone = UnmaskedAnswer {
        source: None,
        content: None,
        detail: Some("its stream no longer holds it".to_owned()),
        ..unmasked("EVENTS/5", "", json!(null))
    };
    let answer = UnmaskAnswer {
        id: "order-17".to_owned(),
        audit: 7,
        messages: vec![unmasked("COMMANDS/1", "row", json!({ "text": "a\n\u{1b}[31mb" })), gone],
        cut: true,
    };
    let text: String = unmask::lines(&answer).iter().map(|line| format!("{line}\n")).collect();
    let expected = "\
Personal data of order-17. This is entry 7 of the audit log.

dead letter  2026-03-01 10:00:00.000  COMMANDS/1  as the row kept it; its stream did not give it
  {
    \"text\": \"a\\n\\u001b[31mb\"
  }

dead letter  2026-03-01 10:00:00.000  EVENTS/5
  Not shown: its stream no longer holds it.
There is more than is shown here: ask for the id of one message.
";
    assert_eq!(text, expected);
}
