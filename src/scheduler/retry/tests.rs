use super::*;

fn read(json: serde_json::Value) -> Result<RetryPlan, ScheduleError> {
    plan(&serde_json::from_value(json).unwrap(), RetryPlan::default())
}

#[track_caller]
fn refused(json: serde_json::Value, param: &str) {
    match read(json.clone()) {
        Err(ScheduleError::Invalid { param: found, .. }) => assert_eq!(found, param, "{json}"),
        other => panic!("{json}: {other:?}"),
    }
}

#[test]
fn nothing_said_is_the_default() {
    let plan = read(serde_json::json!({})).unwrap();
    assert_eq!(plan, RetryPlan::default());
    assert_eq!((plan.max_retry_attempts, plan.delay_seconds), (3, 7_200));
    assert_eq!((plan.windows[0].start_minute, plan.windows[0].end_minute), (600, 1_080));
    assert_eq!(plan.expire_after_seconds, 259_200);
}

#[test]
fn the_flat_pair_is_a_list_of_one() {
    let flat = read(serde_json::json!({
        "calling_window_start_time": "9:00am", "calling_window_end_time": "17:30",
        "retry_delay_seconds": 60, "call_twice_in_a_row": true, "skip_calling_window": false,
    }));
    let list = read(serde_json::json!({
        "windows": [{"start_time": "09:00", "end_time": "5:30pm"}],
        "delay_seconds": 60, "immediate_redial": true,
    }));
    assert_eq!(flat.unwrap(), list.unwrap());
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    refused(serde_json::json!({"max_retry_attempts": 21}), "retry.max_retry_attempts");
    refused(serde_json::json!({"delay_seconds": 2_678_401}), "retry.delay_seconds");
    refused(serde_json::json!({"expire_after_seconds": 0}), "retry.expire_after_seconds");
    refused(serde_json::json!({"timezone": "Mars/Olympus"}), "retry.timezone");
    refused(serde_json::json!({"windows": []}), "retry.windows");
    refused(
        serde_json::json!({"windows": [{}, {"start_time": "25:00"}]}),
        "retry.windows[1].start_time",
    );
    refused(serde_json::json!({"windows": [{"days": []}]}), "retry.windows[0].days");
    refused(serde_json::json!({"windows": [{"days": ["someday"]}]}), "retry.windows[0].days");
    refused(
        serde_json::json!({"windows": [{}], "calling_window_end_time": "18:00"}),
        "retry.windows",
    );
    for never in ["invalid_number", "rejected", "forbidden", "completed", "do_not_call"] {
        refused(serde_json::json!({"retry_on": ["busy", never]}), "retry.retry_on");
    }
}

#[test]
fn days_are_sorted_and_said_once() {
    let plan =
        read(serde_json::json!({"windows": [{"days": ["fri", "Monday", "friday"]}]})).unwrap();
    assert_eq!(plan.windows[0].days, [Day::Monday, Day::Friday]);
}
