//! Who may connect without the token of the link. Rules that `adit host` makes bear its mark: each start puts those of its
//! `--allow` in their place, and leaves all others alone.

use serde_json::{Value, json};

use crate::args::Who;
use crate::commands::tunnel::{entries, is_same_rule, items};

const MARK: &str = "madeBy";
const MAKER: &str = "adit host";

/// The rules of a tunnel that had these, once a host with this `--allow` runs.
pub(super) fn with_allowed(old: &[Value], allow: &[Who]) -> Vec<Value> {
    let mut rules: Vec<Value> = old.iter().filter(|rule| !is_ours(rule)).cloned().collect();
    for mut rule in entries(allow, false) {
        if rules.iter().any(|known| is_same_rule(known, &rule)) {
            continue;
        }
        if let Some(fields) = rule.as_object_mut() {
            fields.insert(MARK.into(), json!(MAKER));
        }
        rules.push(rule);
    }
    rules
}

/// Whether these let everybody connect, whoever made them.
pub(super) fn let_everybody_in(rules: &[Value]) -> bool {
    let is = |rule: &Value, name: &str| rule.get(name).and_then(Value::as_bool).unwrap_or(false);
    let is_about_all = |rule: &Value| {
        let subjects = || items(rule, "subjects").iter().filter_map(Value::as_str);
        let connects = items(rule, "scopes").iter().any(|scope| scope == "connect");
        let of_all = match rule.get("type").and_then(Value::as_str) {
            Some("Anonymous") => true,
            Some("IPAddressRanges") => subjects().any(|range| range.ends_with("/0")),
            _ => false,
        };
        connects && of_all && !is(rule, "isInverse")
    };
    let all = |is_deny| rules.iter().any(|rule| is(rule, "isDeny") == is_deny && is_about_all(rule));
    all(false) && !all(true)
}

fn is_ours(rule: &Value) -> bool {
    rule.get(MARK).and_then(Value::as_str) == Some(MAKER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_rules_of_a_host_before_are_replaced() {
        let others = entries(&[Who::User("bob".into())], false);
        let denied = entries(&[Who::Range("10.9.0.0/16".into())], true);
        let theirs = [others, denied].concat();
        let first = with_allowed(&theirs, &[Who::Anonymous, Who::User("bob".into())]);
        assert_eq!(first.len(), 3, "{first:?}");
        assert!(let_everybody_in(&first));
        let second = with_allowed(&first, &[Who::Range("10.0.0.0/8".into())]);
        assert_eq!(second.len(), 3, "{second:?}");
        assert!(!let_everybody_in(&second));
        assert_eq!(with_allowed(&second, &[]), theirs);
    }

    #[test]
    fn everybody_is_let_in_in_more_than_one_way_unless_that_is_denied() {
        let range = |text: &str| Who::Range(text.into());
        for (allow, deny, expected) in [
            (vec![Who::Anonymous], vec![], true),
            (vec![range("0.0.0.0/0")], vec![range("10.0.0.0/8")], true),
            (vec![Who::Anonymous], vec![Who::Anonymous], false),
            (vec![range("10.0.0.0/8"), Who::User("bob".into())], vec![], false),
        ] {
            let rules = [entries(&allow, false), entries(&deny, true)].concat();
            assert_eq!(let_everybody_in(&rules), expected, "{rules:?}");
        }
    }
}
