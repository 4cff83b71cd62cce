//! Session contours against those of the Dev Tunnels SSH libraries.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use ssh_core::metrics::{ContourUpdate, SessionContour};
use tests::vectors::load;

#[test]
fn contours_are_those_of_the_reference() {
    for case in load("contour.json")["cases"].as_array().unwrap() {
        let number = |value: &serde_json::Value| value.as_u64().unwrap();
        let numbers = |name: &str| case[name].as_array().unwrap().iter().map(number).collect::<Vec<_>>();
        let floats = |name: &str| {
            let values = case[name].as_array().unwrap().iter();
            values.map(|value| value.as_f64().unwrap()).collect::<Vec<_>>()
        };
        let mut contour = SessionContour::new(number(&case["max_intervals"]) as usize).unwrap();
        for update in case["updates_time_ms_sent_recv_latency_ms"].as_array().unwrap() {
            contour.add(ContourUpdate {
                time_ms: number(&update["Time"]),
                bytes_sent: number(&update["Sent"]),
                bytes_received: number(&update["Recv"]),
                latency_ms: update["Lat"].as_f64().unwrap(),
            });
        }
        assert_eq!(contour.interval_count() as u64, number(&case["interval_count"]));
        assert_eq!(contour.interval_ms(), number(&case["interval_ms"]));
        assert_eq!(contour.bytes_sent(), numbers("bytes_sent"));
        assert_eq!(contour.bytes_received(), numbers("bytes_received"));
        assert_eq!(contour.latency_min_ms(), floats("latency_min"));
        assert_eq!(contour.latency_max_ms(), floats("latency_max"));
        assert_eq!(contour.latency_average_ms(), floats("latency_avg"));
        let exported = case["export_base64"].as_str().unwrap();
        assert_eq!(contour.export(), exported);
        // What was rounded stays as it is.
        let imported = SessionContour::import(exported).unwrap();
        assert_eq!(imported.interval_count(), contour.interval_count());
        assert_eq!(imported.interval_ms(), contour.interval_ms());
        assert_eq!(imported.export(), exported);
    }
}
