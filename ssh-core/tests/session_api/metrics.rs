//! Metrics.

use ssh_core::metrics::{ContourCollector, SessionContour};
use tokio::time::timeout;

use super::PATIENCE;
use super::coming_back::World;
use super::support::{Sides, sessions};

#[tokio::test]
async fn a_collector_follows_a_session_with_its_latency_until_it_is_stopped() {
    let world = World::new().await;
    let before = world.client.metrics();
    let collector = ContourCollector::start(&world.client, SessionContour::default());
    for _ in 0..5 {
        assert_eq!(world.client.request("keepalive@openssh.com", &[7; 1000]).await.unwrap(), None);
    }
    let contour = collector.stop().await;
    let after = world.client.metrics();
    let [sent, received] =
        [contour.bytes_sent(), contour.bytes_received()].map(|all| all.iter().sum::<u64>());
    assert_eq!(sent, after.bytes_sent - before.bytes_sent);
    assert_eq!(received, after.bytes_received - before.bytes_received);
    assert!(sent > 5000);
    assert!(after.latency.unwrap().samples > 0);
    let (average, most) = (contour.latency_average_ms(), contour.latency_max_ms());
    assert!(most.iter().any(|most| *most > 0.0), "{contour:?}");
    assert!(average.iter().zip(most).all(|(average, most)| *average <= most), "{contour:?}");
}

#[tokio::test]
async fn a_collector_ends_with_its_session() {
    let (client, _server) = sessions(&Sides::default()).await;
    let collector = ContourCollector::start(&client, SessionContour::new(2).unwrap());
    client.close();
    let contour = timeout(PATIENCE, collector.stop()).await.unwrap();
    assert_eq!((contour.max_intervals(), contour.interval_count()), (2, 1));
}
