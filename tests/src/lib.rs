//! The test harness: real peers, scripted links, pairs of engines.
