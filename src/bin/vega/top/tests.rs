//! Pages of a running instance, drawn to a terminal of the smallest usual size. Tests.

use vega::{Instance, Message};

use super::*;
use crate::drawn::Place;

const PATIENCE: Duration = Duration::from_secs(60);
/// Too long for the column of instances on a small terminal.
const NAME: &str = "dealer-of-the-southern-desk";

fn drawn(model: &Model) -> Vec<String> {
    crate::drawn::drawn((80, 24), |frame| draw::draw(frame, model))
}

fn press(model: &mut Model, code: KeyCode) {
    handle_key(model, code);
}

/// An instance that has sent two messages between two looks that are a second apart.
fn model() -> Model {
    let place = Place::new();
    let config = &place.config;
    let instance = Instance::builder().name(NAME).config(config.clone()).start().unwrap();
    let (arrived, arrivals) = std::sync::mpsc::channel();
    let mut publishers = ["ipc.book", "fx.EURUSD"].map(|topic| {
        let arrived = arrived.clone();
        let on_message = move |_: &Message<'_>| arrived.send(()).unwrap();
        (instance.publisher(topic).unwrap(), instance.subscribe(topic, on_message).unwrap())
    });
    for (publisher, _) in &publishers {
        assert!(publisher.wait_for_subscribers(1, PATIENCE));
    }
    let start = clock::now();
    let mut model = Model::new(HostCounters::read(config).unwrap(), start);
    for _ in 0..2 {
        publishers[0].0.send(b"1.0842").unwrap();
        arrivals.recv_timeout(PATIENCE).unwrap();
    }
    // What was sent last is counted right after its callback.
    publishers[1].0.send(b"x").unwrap();
    arrivals.recv_timeout(PATIENCE).unwrap();
    model.update(HostCounters::read(config).unwrap(), start + Duration::from_secs(1));
    instance.close().unwrap();
    model
}

#[test]
fn every_page_fits_a_small_terminal() {
    let mut model = model();
    let screen = drawn(&model);
    assert!(screen[0].starts_with("vega top  1 instance, 2 topics"), "{screen:#?}");
    assert!(screen[23].starts_with("q quit"), "{screen:#?}");
    let line = screen.iter().find(|line| line.starts_with("dealer")).unwrap();
    // Process, time, and three messages sent.
    let words: Vec<_> = line.split_whitespace().collect();
    assert_eq!((words[1].parse(), words[3]), (Ok(std::process::id()), "3"), "{screen:#?}");

    for (digit, page) in ('1'..).zip(Page::ALL) {
        press(&mut model, KeyCode::Char(digit));
        assert_eq!(model.page(), page);
        let screen = drawn(&model);
        for (title, _) in page.columns() {
            assert!(screen[2].contains(title), "{title}: {screen:#?}");
        }
        assert!(screen[3].contains("deal"), "{screen:#?}");
        // Topics and addresses come before names of instances.
        let is_cut =
            |line: &String| line.split_whitespace().next().is_some_and(|it| it.contains('…'));
        assert!(page == Page::Instances || !screen[3..23].iter().any(is_cut), "{screen:#?}");
    }
}

/// What the first column has no use for.
#[test]
fn instances_have_their_names_on_a_wide_terminal() {
    let mut model = model();
    for digit in ['2', '3', '4', '5'] {
        press(&mut model, KeyCode::Char(digit));
        let screen = crate::drawn::drawn((110, 24), |frame| draw::draw(frame, &model));
        assert!(screen[3].contains(NAME), "{screen:#?}");
    }
}

/// Names stay readable where not all columns fit.
#[test]
fn names_keep_their_place_on_a_narrow_terminal() {
    let mut model = model();
    press(&mut model, KeyCode::Char('2'));
    let narrow = |width| crate::drawn::drawn((width, 24), |frame| draw::draw(frame, &model));
    for width in [50, 30] {
        let screen = narrow(width);
        assert!(screen.iter().any(|line| line.starts_with("fx.EURUSD")), "{screen:#?}");
    }
}

#[test]
fn keys_turn_pages_and_choose_the_order() {
    let mut model = model();
    press(&mut model, KeyCode::Tab);
    assert_eq!(model.page(), Page::Topics);
    // By messages per second, the most first: those of shared memory.
    assert!(drawn(&model)[3].starts_with("ipc.book"), "{:#?}", drawn(&model));
    press(&mut model, KeyCode::Char('r'));
    assert!(drawn(&model)[3].starts_with("fx.EURUSD"), "{:#?}", drawn(&model));
    for _ in 0..model.order().0 {
        press(&mut model, KeyCode::Left);
    }
    assert_eq!(model.order(), (0, false));
    press(&mut model, KeyCode::Left);
    press(&mut model, KeyCode::Right);
    assert_eq!(model.order(), (0, false));
    press(&mut model, KeyCode::End);
    assert!(drawn(&model)[3].starts_with("ipc.book"), "{:#?}", drawn(&model));
    assert_eq!(drawn(&model)[4], "", "only the last line is left");
    press(&mut model, KeyCode::Up);
    press(&mut model, KeyCode::Home);
    press(&mut model, KeyCode::BackTab);
    assert_eq!(model.page(), Page::Instances);
    press(&mut model, KeyCode::Char(' '));
    assert!(model.is_paused() && drawn(&model)[0].ends_with("STOPPED"));
}
