//! The lives do not depend on the order in which the rows are found.

use proptest::prelude::*;

use super::*;

fn any_row() -> impl Strategy<Value = Row> {
    let id = prop::sample::select(vec!["a", "b", "c"]);
    let status = prop::sample::select(vec![
        ReportStatus::Sent,
        ReportStatus::Failed,
        ReportStatus::Delivered,
        ReportStatus::Read,
    ]);
    let outcome =
        prop::sample::select(vec![SendOutcome::Accepted, SendOutcome::Rejected, SendOutcome::Unknown]);
    let kind = 0..8_u8;
    (kind, id, status, outcome, 1..6_u64, 0..40_u32, any::<bool>(), prop::bool::weighted(0.1)).prop_map(
        |(kind, id, status, outcome, sequence, half_seconds, is_sales, is_replayed)| {
            let seconds = f64::from(half_seconds) / 2.0;
            let mut row = match kind {
                0 => command(id, sequence, seconds),
                1 => command_with_file(id, "m", sequence, seconds),
                2 => result(id, outcome, sequence, seconds),
                3 => fetch(id, "m", sequence, seconds),
                4 => webhook(sequence, seconds),
                5 => report(id, status, sequence, seconds, sequence),
                6 => message(id, sequence, seconds, sequence),
                _ => dead_letter(&format!("WEBHOOKS/{sequence}"), sequence, seconds),
            };
            if !is_sales {
                row.channel = "support".to_owned();
            }
            row.is_replayed = is_replayed;
            row
        },
    )
}

/// Rows as a store holds them: the place and time of each are unique.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec(any_row(), 0..16).prop_map(|mut rows| {
        rows.sort_by_key(|row| (row.stored_at, row.pointer));
        rows.dedup_by_key(|row| (row.stored_at, row.pointer));
        rows
    })
}

proptest! {
    #[test]
    fn any_order_of_the_rows_gives_the_same_lives(
        (rows, shuffled) in rows().prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle())),
        now in 0..4000_u32,
    ) {
        let view = view(f64::from(now));
        let lives = assemble(rows.clone(), &view);
        prop_assert_eq!(&lives, &assemble(shuffled, &view));

        let mut seen: Vec<(Timestamp, crate::row::Pointer)> =
            lives.iter().flat_map(|life| &life.rows).map(|row| (row.stored_at, row.pointer)).collect();
        seen.sort_unstable();
        seen.dedup();
        let all: Vec<_> = rows.iter().map(|row| (row.stored_at, row.pointer)).collect();
        prop_assert_eq!(seen, all, "each row is in a life");
        for life in &lives {
            let own = || life.rows.iter().filter(|row| row.kind != RowKind::Webhook);
            prop_assert!(own().all(|row| row.channel == life.rows[0].channel || life.rows[0].kind == RowKind::Webhook));
            let mut again = life.rows.clone();
            order(&mut again);
            prop_assert_eq!(&again, &life.rows);
        }
    }
}
