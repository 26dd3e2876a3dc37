//! `vega sim --discovery`. Tests.

use crate::world::World;

#[test]
fn what_discovery_costs_is_a_table_or_json() {
    let world = World::new();
    let arguments = ["sim", "--discovery", "--topics", "20", "--instances", "5"];
    let table = world.start(&arguments).finish().expect_code(0);
    assert_eq!(table.text().lines().count(), 2 + 4, "{}", table.text());
    let costs = world.start(&[&arguments[..], &["--json"]].concat()).finish().expect_code(0);
    let costs = costs.json_lines().remove(0);
    let events: Vec<_> =
        costs["events"].as_array().unwrap().iter().map(|it| &it["event"]).collect();
    assert_eq!(events, ["start", "steady", "join", "heal"]);
    assert!(costs["memory_bytes"].as_u64().unwrap() > 1_000);
}
