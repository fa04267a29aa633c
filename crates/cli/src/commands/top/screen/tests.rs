//! The screen at the sizes that it is made for.

use bus::StreamId;
use bus::inspect::ConsumerInfo;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::layout::Size;

use super::*;
use crate::commands::top::lanes::LaneTotals;
use crate::commands::top::model::{Name, Results, Row, SpoolTotals};

/// The size that every terminal has at least, and a large one.
const SMALL: Size = Size { width: 80, height: 24 };
const LARGE: Size = Size { width: 140, height: 40 };

fn screen(board: &Board, size: Size) -> String {
    let mut terminal = Terminal::new(TestBackend::new(size.width, size.height)).unwrap();
    terminal.draw(|frame| draw(frame, board, false)).unwrap();
    terminal.backend().to_string()
}

fn lane(channel: &str, halted: &str) -> Lane {
    Lane {
        channel: channel.to_owned(),
        waiting: 30,
        oldest: Some(Timestamp::now() - jiff::SignedDuration::from_hours(3)),
        in_progress: 2,
        halted: halted.to_owned(),
    }
}

fn with_lanes(lanes: Vec<Lane>) -> Board {
    Board { lane_totals: LaneTotals::of(&lanes), lanes, connected: true, ..Board::default() }
}

/// A board as a busy installation has it.
fn busy() -> Board {
    let mut board = with_lanes(vec![lane("202105102694809992", "paused by an operator"), lane("c-2", "")]);
    board.place = "nats-server 2.9.10".to_owned();
    board.admins = (1, 1);
    board.rates = Rates { webhooks: 123.4, events: 234.5, commands: 11.2, results: 10.1 };
    board.history = vec![Rates { webhooks: 1.0, ..board.rates }, board.rates];
    for id in [StreamId::Webhooks, StreamId::Events, StreamId::Commands, StreamId::DeadLetters] {
        let stream =
            StreamInfo { messages: 1_234_567, bytes: 50, max_bytes: Some(100), ..StreamInfo::new(id) };
        board.snapshot.streams.push(stream);
    }
    for (stream, name) in [(StreamId::Webhooks, "normalizer"), (StreamId::Events, "aicc")] {
        let oldest = Some(Timestamp::now() - jiff::SignedDuration::from_secs(3));
        let durable =
            ConsumerInfo { pending: 42, held: 7, oldest, ..ConsumerInfo::new(stream, name.to_owned()) };
        board.snapshot.durables.push(durable);
    }
    let row = Row {
        webhooks: 900,
        waiting: 4,
        dead_letters: 5,
        commands: 70,
        pending_commands: 60,
        results: Results { accepted: 812, rejected: 6, expired: 2, unknown: 1 },
        rates: Rates { webhooks: 12.5, events: 13.5, commands: 7.5, results: 6.5 },
        refused: [("wrong_credential".to_owned(), 8)].into(),
        ..Row::default()
    };
    board.rows.insert(Name { bsp: "infobip".to_owned(), channel: "202105102694809992".to_owned() }, row);
    board.strangers.insert(("twilio".to_owned(), "unknown_channel".to_owned()), 3);
    board
}

/// The words of the line with `part`.
fn words<'s>(screen: &'s str, part: &str) -> Vec<&'s str> {
    let line =
        screen.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("no {part} in\n{screen}"));
    line.split([' ', '"', '│', '┌', '┐']).filter(|word| !word.is_empty()).collect()
}

#[test]
fn every_number_has_its_place_on_a_small_screen() {
    let text = screen(&busy(), SMALL);
    let row = words(&text, "infobip/202105102694809992");
    // Webhooks a second and waiting, sends a second, waiting and failed, dead letters, refused.
    assert_eq!(row, ["infobip/202105102694809992", "12.5", "4", "6.5", "60", "9", "5", "8"], "{text}");
    let stranger = words(&text, "twilio/(no channel)");
    assert_eq!(stranger.last(), Some(&"3"), "{text}");
    for part in [
        "webhooks 123.4/s, events 234.5/s",
        "commands 11.2/s, sends 10.1/s",
        "channels, since the start of this screen; /s: average of 10 s",
        "lanes: 1 of 2 halted",
        "1\u{202f}234\u{202f}567",
        "50 %",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    let halted = words(&text, "paused by an operator");
    assert_eq!(
        halted,
        ["202105102694809992", "30", "waiting", "for", "3.0", "h", "paused", "by", "an", "operator"]
    );
    let normalizer = words(&text, "normalizer");
    assert_eq!(normalizer[normalizer.len() - 4..], ["42", "7", "3", "s"], "{text}");
    let commands = words(&text, "│sender");
    assert_eq!(commands[commands.len() - 4..], ["60", "4", "3.0", "h"], "{text}");
}

#[test]
fn spooled_webhooks_and_folders_without_a_process_are_shown() {
    let spool = |abandoned_folders, unusable| {
        let entries = 42;
        Some(SpoolTotals {
            processes: 2,
            entries,
            oldest_age_s: 95,
            abandoned_folders,
            unusable,
            ..SpoolTotals::default()
        })
    };
    for size in [SMALL, LARGE] {
        let text = screen(&Board { spool: spool(0, 0), ..busy() }, size);
        assert_eq!(words(&text, "│spool")[..].last_chunk(), Some(&["spool", "42", "0", "95", "s"]), "{text}");
        assert!(!text.contains("spool folder") && !text.contains("unusable"), "{text}");
        let text = screen(&Board { spool: spool(1, 0), ..busy() }, size);
        assert!(text.contains("1 spool folder has no process"), "{text}");
        let text = screen(&Board { spool: spool(0, 2), ..busy() }, size);
        assert!(text.contains("2 spools are unusable"), "{text}");
        assert!(!screen(&busy(), size).contains("spool"), "an installation without one");
    }
}

#[test]
fn a_large_screen_says_more() {
    let text = screen(&busy(), LARGE);
    let row = words(&text, "wrong_credential");
    let expected = [
        "infobip",
        "202105102694809992",
        "12.5",
        "900",
        "4",
        "13.5",
        "7.5",
        "60",
        "6.5",
        "812",
        "9",
        "5",
        "8",
        "wrong_credential",
    ];
    assert_eq!(row, expected, "{text}");
    for part in [
        "2 in flight",
        "3 unknown_channel",
        "(no channel)",
        "Commands",
        "accepted",
        "WEBHOOKS for normalizer",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
}

#[test]
fn a_halted_lane_is_a_warning_and_too_many_lanes_are_counted() {
    assert!(!screen(&Board::default(), SMALL).contains("lanes:"));
    let mut lanes = vec![lane("c-1", "paused by an operator")];
    lanes.extend((0..9).map(|number| lane(&format!("more-{number}"), "")));
    let board = with_lanes(lanes);
    for (size, shown) in [(SMALL, LANES_SHOWN[0]), (LARGE, LANES_SHOWN[1])] {
        let text = screen(&board, size);
        let title = format!("lanes: 1 of 10 halted, {} more: imchannel lanes list", 10 - shown);
        assert!(text.contains(&title) && text.contains("paused by an operator"), "{text}");
        let (last, cut) = (format!("more-{}", shown - 2), format!("more-{}", shown - 1));
        assert!(text.contains(&last) && !text.contains(&cut), "{text}");
    }
}

#[test]
fn channels_that_do_not_fit_are_counted() {
    let mut board = busy();
    for number in 0..50 {
        let name = Name { bsp: "gupshup".to_owned(), channel: format!("c-{number:02}") };
        board.rows.insert(name, Row::default());
    }
    for size in [SMALL, LARGE] {
        let text = screen(&board, size);
        let shown = text.matches("gupshup").count();
        // One channel of Infobip and the row without a channel come after them.
        assert!(text.contains(&format!("and {} more", 52 - shown)), "{shown} of\n{text}");
        assert!(text.contains("q quit"), "{text}");
    }
}

#[test]
fn names_from_outside_are_escaped() {
    let mut board = with_lanes(vec![lane("l\u{9b}", "h\u{85}")]);
    board.place = "nats \u{9b}2J".to_owned();
    let refused = [("a\u{202e}b".to_owned(), 1)].into();
    let name = Name { bsp: "b\u{85}".to_owned(), channel: "c\u{2066}\u{1b}[2J".to_owned() };
    board.rows.insert(name, Row { refused, ..Row::default() });
    board.strangers.insert(("s\u{200b}".to_owned(), "o\u{7f}".to_owned()), 1);
    for size in [SMALL, LARGE] {
        let text = screen(&board, size);
        for part in [r"nats \u009b2J", r"b\u0085", r"c\u2066\u001b[2J", r"s\u200b", r"l\u009b", r"h\u0085"] {
            assert!(text.contains(part), "no {part} in\n{text}");
        }
        assert!(!text.replace('\n', "").contains(terminal::is_unsafe), "{text:?}");
    }
    let text = screen(&board, LARGE);
    assert!(text.contains(r"a\u202eb") && text.contains(r"o\u007f"), "{text}");
}

#[test]
fn a_window_of_any_size_is_drawn() {
    for (width, height) in [(1, 1), (20, 5), (79, 23), (130, 30), (300, 100)] {
        screen(&busy(), Size { width, height });
    }
}
