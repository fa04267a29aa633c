//! The list of promises: a test of each, for an engine.

/// Tests of every promise, with the engine that the expression makes for each.
#[macro_export]
macro_rules! promises {
    ($engine:expr) => {
        $crate::promises! { $engine;
            storing::a_batch_is_stored_with_its_position,
            storing::a_row_is_read_as_it_was_stored,
            storing::the_same_batch_twice_is_stored_once,
            storing::a_batch_that_overlaps_the_last_one_adds_what_is_new,
            storing::a_stream_that_was_created_again_is_stored_beside_the_old_one,
            storing::of_positions_without_a_reading_the_later_stream_counts,
            storing::a_later_reading_replaces_a_position_that_is_further_on,
            storing::a_batch_over_midnight_is_whole,
            storing::a_clock_that_goes_back_over_midnight_loses_nothing,
            storing::a_batch_without_rows_stores_its_position,
            storing::what_was_stored_is_there_after_a_kill,
            storing::streams_have_positions_of_their_own,
            storing::gaps_are_kept,
            expecting::a_row_meets_what_was_expected,
            expecting::a_row_that_came_first_meets_what_is_expected_later,
            expecting::a_row_of_the_same_batch_meets_in_both_orders,
            expecting::a_report_from_the_day_before_meets_what_a_late_result_expects,
            expecting::what_is_expected_twice_is_there_once,
            expecting::what_was_met_is_not_opened_by_the_same_batch_again,
            expecting::channels_with_the_same_ids_are_told_apart,
            expecting::a_row_whose_channel_is_not_known_meets_any,
            expecting::overdue_is_what_is_due_by_the_time_that_its_rule_is_judged,
            expecting::overdue_is_listed_without_duplicates_or_holes,
            expecting::what_a_slow_lane_expects_is_judged_by_its_own_time,
            expecting::a_fetch_meets_every_message_with_its_file,
            expecting::counting_ends_at_its_limit,
            finding::rows_are_found_by_any_id_oldest_first_and_once,
            finding::more_rows_than_the_limit_are_cut,
            finding::keys_that_no_row_has_find_nothing,
            finding::ids_of_any_bytes_are_found,
            finding::look_ups_and_batches_run_at_the_same_time,
            finding::lists_are_read_without_bodies,
            finding::rows_are_read_by_their_sequences_from_both_ends,
            listing::a_customers_rows_are_listed_newest_first,
            listing::thousands_of_rows_of_one_customer_are_listed_in_pages,
            listing::beginnings_are_commands_and_messages_of_a_channel_or_of_all,
            listing::pages_have_no_duplicates_and_no_holes,
            expiring::days_before_a_time_are_removed_whole,
            expiring::positions_outlive_their_rows,
            expiring::old_expectations_are_removed,
            auditing::entries_are_listed_newest_first_in_pages_and_stay_after_a_kill,
            auditing::an_entry_outlives_the_rows_and_is_kept_for_400_days,
            replaying::the_messages_of_a_run_are_counted_in_one_entry,
            replaying::a_message_is_counted_once_however_often_it_is_read,
            replaying::what_is_counted_stays_after_a_kill_and_after_its_rows,
            replaying::the_entry_of_a_replay_is_kept_for_400_days,
            replaying::a_replay_of_which_nothing_is_known_is_in_the_log,
            replaying::runs_beyond_those_of_an_hour_are_one_entry,
            erasing::erased_rows_are_found_nowhere_and_their_neighbors_stay,
            erasing::what_is_expected_after_an_erased_row_is_removed,
            erasing::an_erasure_may_be_made_again_and_a_number_may_come_again,
        }
    };
    ($engine:expr; $($module:ident :: $name:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                $crate::$module::$name(&$engine).await;
            }
        )*
    };
}
