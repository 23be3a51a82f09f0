#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Hazards: interleavings that break a naive build, the rule for each, where it lives, and which tests fail without it.

The sources call them by these numbers. As TAP: each has a test, and the tests that are named exist. Rules were taken out
once to see their tests fail, but for 4, 14, 19, 25 and 30, where there is no line that could be.
"""
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "helpers"))
import tap

TOP = os.environ.get("TOP_SRCDIR") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")

# number: (rule, where, {file of tests/: tests})
HAZARDS = {
    1: ("a FAIL is repeated until ten seconds after it was first sent: later it may hit somebody else's run",
        "ledger/ledger.c hold_fail_until_usec(), report/report.c; link/link.c link_look(), so that it is repeated",
        {"integration/test_deadline.py": "of_the_dead a_workers_own within_ten_seconds_it_is what_was_refused_was_never_sent",
         "integration/test_survival.py": "a_fail_is_not_repeated_after_10_seconds",
         "integration/test_silence.py": "the_reporters_link only_its_answers what_comes_to_be_said_meanwhile_is_not_said_there "
                                        "a_workers_own_fail for_longer_than_a_link_is_waited_for",
         "unit/test-reporter-rules.c": "a_fail_is_repeated_for_ten_seconds_from_its_first_sending "
                                       "a_silent_link_is_given_up_while_a_fail_can_be_repeated a_silent_link_gets_no_more"}),
    2: ("a report is in the journal when it is read: replay sends it as what it was", "gateway/intake.c, supervise/estate.c",
        {"integration/test_survival.py": "an_ack_is_sent_by_the_next a_workers_fail_is_sent_by_the_next"}),
    3: ("a report without an answer is confirmed here in time; for each hold the first one counts; in order",
        "gateway/listener.c, gateway/intake.c intake_can_follow()",
        {"integration/test_absence.py": "everything_is_answered_in_time a_fail_does_not_overtake_an_ack three_links_after_a_loss "
                                        "what_was_said_in_its_absence_comes_in_order a_long_fail_neither",
         "integration/test_long_reports.py": "without_the_server the_server_is_silent wait_in_their_workers"}),
    4: ("HELLO is answered whether the server is there or not", "gateway/intake.c: there is no other answer",
        {"integration/test_gateway.py": "server_gone_and_back a_server_that_does_not_greet"}),
    5: ("an -ERR is four things: not executed, refused, ACK half done, FAIL half done", "faktory/resp.c, link/reply.c, report/verdict.c",
        {"integration/test_errors.py": "shutdown_in_the_middle_of_acks any_error_that_is_the_last_word one_connection_too_many "
                                       "a_fail_that_was_half_done_is_named a_stray_that_was_half_done_is_pushed_again "
                                       "a_report_of_the_dead_that_is_refused a_report_in_hand_that_is_refused_after_the_death",
         "integration/test_gateway.py": "storage_error_to_an_ack_is_repeated",
         "unit/test-reporter.c": "errors_are_several_things too_many_connections_behind_hello_answers_no_report"}),
    6: ("ACKs pass unless a newer hold is known; a worker's own FAIL that could meet the reaper does not",
        "gateway/intake.c, gateway/upload.c, report/report.c",
        {"integration/test_deadline.py": "a_workers_own_fail_after_its_lease_is_not_passed_on its_ack_passes a_long_one_neither "
                                         "ack_and_fail_of_the_first the_first_dies a_workers_own_fail a_death"}),
    7: ("a stray goes back by ACK and PUSHB in one write, or is FAILed; no hand-over; a link answered for is retired",
        "supervise/undertaker.c, report/reporter.c, gateway/retired.c",
        {"integration/test_strays.py": "a_job_that_may_not_be_retried what_only_the_server_may_count nobody_is_handed_it at_its_pushb "
                                       "at_its_ack an_ack_does_not_wait_behind_it",
         "integration/test_gateway.py": "a_job_too_big_to_keep_is_failed_as_stranded"}),
    8: ("no timer on a FETCH: its link ends by the reply or by a dead connection", "link/link.h patient",
        {"integration/test_deadline.py": "a_fetch_may_take_for_ever any_other_command_may_not",
         "integration/test_absence.py": "a_fetch_that_is_never_answered"}),
    9: ("nothing is fetched, and no BEAT sent, for the dead", "gateway/intake.c intake_is_deaf()",
        {"integration/test_strays.py": "commands_that_fetch_nothing_are_carried_out fetches_behind_it_are_not_sent",
         "integration/test_every_byte.py": "killed_within_what_waits_behind_a_fetch"}),
    10: ("a wrapper that dies of our TERM is part of the stop: who said HELLO and lives on has the grace", "supervise/end.c",
         {"integration/test_supervise.py": "a_wrapper_that_dies_of_term stop_target_hello"}),
    11: ("after an exit with jobs in hand what is left may finish them; without, it is killed", "supervise/end.c, supervise/look.c",
         {"integration/test_death.py": "a_double_forked_child_finishes_the_job a_child_without_a_session_is_not_waited_for_for_long "
                                       "children_are_killed_at_once_when_no_job_is_in_hand"}),
    12: ("a pid in a HELLO counts only for a process of the leaf that is not the first", "supervise/member.c",
         {"integration/test_strays.py": "somebody_elses_pid the_first_process_named_by_a_child",
          "integration/test_death.py": "what_a_dead_member_leaves_dies_before_its_jobs_are_failed"}),
    13: ("BEAT in the stead of a wid that has been silent for 40 s", "gateway/identity.c",
         {"integration/test_beats.py": "a_silent_wid_is_kept during_a_stop_with_a_long_grace the_reporters_link_is_down_when_it_is_due"}),
    14: ("a FETCH without an answer at chargehand's own death strands at most its job",
         "the manual, for nothing can be done", {"integration/test_survival.py": "held_jobs_are_failed_by_the_next"}),
    15: ("an -ERR at the server's end is nil to a FETCH", "link/reply.c, gateway/answer.c",
         {"integration/test_errors.py": "the_last_word_to_a_fetch_is_no_reason_to_end"}),
    16: ("a link with an unanswered FAIL ends in a reset, at its limit, and before anything is repeated", "report/reporter.c, link/dial.h",
         {"unit/test-reporter-rules.c": "a_link_with_an_unanswered_fail_ends_in_a_reset a_link_is_reset_when_an_unanswered_fail_is_out_of_time",
          "integration/test_absence.py": "a_workers_own_fail_is_repeated_in_time the_reporters_link"}),
    17: ("holds have generations: an answer is about the hold that its report was read for", "ledger/ledger.c, gateway/answer.c",
         {"integration/test_absence.py": "a_job_that_comes_again_before_its_ack_is_answered",
          "integration/test_deadline.py": "the_same_worker_has_it_twice_and_dies the_second_dies"}),
    18: ("a stop is quiet first, waits until no FETCH is upstream, and gives the last job time to be taken", "supervise/worker.c",
         {"integration/test_supervise.py": "term_is_sent_when_no_fetch_is_upstream a_job_has_time_to_be_taken",
          "integration/test_real_workers.py": "a_job_comes_when_it_is_to_stop stopped_in_the_middle_of_many"}),
    19: ("TRACK does not move the last moment of a FAIL", "nowhere: it is not read",
         {"integration/test_deadline.py": "track_does_not_move_it"}),
    20: ("SIGTSTP is quiet by nil alone, for `quiet` from the server is for ever", "gateway/intake.c",
         {"integration/test_supervise.py": "tstp_and_cont"}),
    21: ("what SIGKILL does not end, or what is outside, is not waited for for ever", "supervise/worker.c",
         {"integration/test_death.py": "somebody_outside_keeps_a_session_open",
          "integration/test_stuck.py": "a_child_that_is_left_does_not_hold_up_anything"}),
    22: ("without a cgroup leftovers are known by a mark in their environment", "process/leftover.c, process/tree.c",
         {"integration/test_survival.py": "leftover_processes_are_ended_first",
          "unit/test-tree.c": "an_orphan_with_a_session_of_its_own_is_known_by_its_mark"}),
    23: ("links are kept for sessions with the same HELLO; one hash in a turn; 2000 sessions", "gateway/retired.c, link/dial.c",
         {"integration/test_gateway.py": "short_sessions_share_links",
          "integration/test_absence.py": "two_hundred_sessions_come_back two_thousand_sessions"}),
    24: ("holds of live workers are forgotten some minutes after their lease", "supervise/look.c",
         {"integration/test_deadline.py": "a_hold_that_nobody_reports_is_forgotten"}),
    25: ("what counts is what has reached chargehand's receive queue", "gateway/session.c",
         {"integration/test_every_byte.py": "killed_within_one_write_of_several_commands"}),
    26: ("a read that ends in mid-line is acknowledged at once, or the rest of the line dies with its worker", "gateway/session.c",
         {"integration/test_strays.py": "an_ack_in_two_small_writes"}),
    27: ("a reply is one write; a long one is a hold from its jid on, and has its lease before its last part", "gateway/answer.c",
         {"integration/test_gateway.py": "each_reply_is_one_write link_lost_in_the_middle_of_a_long_job",
          "integration/test_deadline.py": "a_long_job_has_the_lease_that_it_asks_for"}),
    28: ("bodies are kept while they are on their way, and not longer", "gateway/answer.c",
         {"integration/test_strays.py": "they_are_not_kept_longer_than_they_are_on_their_way a_reply_that_was_written_in_part"}),
    29: ("names are looked up without a thread", "link/lookup.c",
         {"unit/test-lookup.c": "reads_resolv_conf_anew_each_time a_silent_name_server_is_an_error_in_the_end",
         "integration/test_names.py": "the_server_moves nobody_waits_for_a_silent_name_server"}),
    30: ("no upgrade by re-exec: a restart goes through the journal", "supervise/estate.c",
         {"integration/test_survival.py": "settled_once"}),
    31: ("who never says HELLO is warned about; exit 0 with jobs in hand is a failure", "supervise/worker.c, supervise/program.c",
         {"integration/test_beats.py": "who_never_says_hello_is_warned_about_once",
          "integration/test_supervise.py": "exit_0_with_a_job_in_hand_is_a_failure"}),
}


def missing(tests):
    """What is named and is not there."""
    for path, names in tests.items():
        try:
            with open(os.path.join(TOP, "tests", path), encoding="utf-8") as f:
                text = f.read()
        except OSError as e:
            yield f"{path}: {e.strerror}"
            continue
        for name in names.split():
            if not re.search(rf"def test_{name}\(|Test\(\w+, {name}\)", text):
                yield f"{path}: there is no test {name}"


def no_place(where):
    """Files of src that are named and are not there."""
    for path in re.findall(r"\w+/\w+\.[ch]\b", where):
        if not os.path.exists(os.path.join(TOP, "src", path)):
            yield f"there is no src/{path}"


def unknown_numbers():
    """Numbers that the sources name and this table does not; those above 31 are about Linux and the first week of use."""
    for directory, _, names in os.walk(os.path.join(TOP, "src")):
        for name in names:
            if name.endswith((".c", ".h")):
                with open(os.path.join(directory, name), encoding="utf-8") as f:
                    for number in re.findall(r"\bhazards (\d+)", f.read()):
                        if int(number) < 32 and int(number) not in HAZARDS:
                            yield f"{name}: hazards {number}"


def checks():
    for number, (rule, where, tests) in HAZARDS.items():
        yield f"{number}: {rule}", lambda tests=tests, where=where: [*missing(tests), *no_place(where)] if tests else ["no test"]
    yield "the sources name no others", unknown_numbers


if __name__ == "__main__":
    sys.exit(tap.look(list(checks())))
