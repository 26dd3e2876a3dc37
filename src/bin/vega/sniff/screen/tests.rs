//! The table of a system that runs, drawn to terminals of usual sizes. Tests.

use vega::{Instance, TopicPattern};

use super::*;
use crate::drawn::Place;
use crate::inbox::inbox;

const PATIENCE: Duration = Duration::from_secs(60);
/// The smallest usual terminal, and one on which ids fit.
const SMALL: (u16, u16) = (80, 24);
const WIDE: (u16, u16) = (160, 40);

/// Instances of one place, and what is shown of them.
struct Scene {
    place: Place,
    sniffer: Sniffer,
    outlet: Outlet<(Duration, SnifferEvent)>,
    screen: Screen,
}

impl Scene {
    fn new(topic: Option<&str>, instance: Option<&str>) -> Self {
        let place = Place::new();
        let (inlet, outlet) = inbox();
        let listener = move |event: &SnifferEvent| {
            inlet.push(|| (Duration::from_millis(1_500), event.clone()));
        };
        let sniffer = Sniffer::builder().config(place.config.clone()).on_event(listener);
        let sniffer = sniffer.start().unwrap();
        let pattern = |it: Option<&str>| it.map(|it| TopicPattern::regex(it).unwrap());
        let screen = Screen::new(&sniffer, Filter::new(pattern(topic), pattern(instance)));
        Self { place, sniffer, outlet, screen }
    }

    fn start(&self, name: &str) -> Instance {
        Instance::builder().name(name).config(self.place.config.clone()).start().unwrap()
    }

    /// Looks until the sniffer has seen so many instances and adverts that are wanted.
    fn look_until(&mut self, instances: usize, adverts: usize) {
        let start = clock::now();
        loop {
            self.screen.look(&self.sniffer, &self.outlet);
            let seen = &self.screen.seen;
            if (seen.instances.len(), seen.adverts.len()) == (instances, adverts) {
                return;
            }
            assert!(clock::now().duration_since(start) < PATIENCE, "{seen:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Looks until an event is shown.
    fn look_until_shown(&mut self, event: &str) {
        let start = clock::now();
        while !self.screen.events.iter().any(|shown| shown.contains(event)) {
            self.screen.look(&self.sniffer, &self.outlet);
            assert!(clock::now().duration_since(start) < PATIENCE, "{:?}", self.screen.events);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn drawn(&self, size: (u16, u16)) -> Vec<String> {
        crate::drawn::drawn(size, |frame| self.screen.draw(frame))
    }

    fn press(&mut self, code: KeyCode) {
        self.screen.handle_key(code);
    }
}

#[test]
fn instances_topics_and_what_happens_are_shown() {
    let mut scene = Scene::new(None, None);
    let screen = scene.drawn(SMALL);
    assert!(screen[0].starts_with("vega sniff  239.255.0.1:"), "{screen:#?}");
    assert!(screen[0].ends_with("  0 instances, 0 topics"), "{screen:#?}");
    assert!(screen[23].starts_with("q quit"), "{screen:#?}");

    let (dealer, pricer) = (scene.start("dealer"), scene.start("pricer\u{1b}[31m"));
    let publishers = ["ipc.book", "fx.EURUSD"].map(|topic| dealer.publisher(topic).unwrap());
    scene.look_until(2, 2);
    scene.look_until_shown("publisher of fx.EURUSD by ");
    let screen = scene.drawn(WIDE);
    assert!(screen[0].ends_with("  2 instances, 2 topics"), "{screen:#?}");
    assert!(screen[1].starts_with("instance "), "{screen:#?}");
    assert!(screen[2].starts_with("dealer "), "{screen:#?}");
    for part in [dealer.id().to_string(), dealer.response_address().to_string()] {
        assert!(screen[2].contains(&part), "{part}: {screen:#?}");
    }
    // Names come from the network.
    assert!(screen[3].starts_with("pricer\\u{1b}[31m "), "{screen:#?}");
    let log = &screen[screen.len() - 9..screen.len() - 1];
    assert!(log.iter().any(|line| line.contains("1.500s + dealer  instance ")), "{screen:#?}");
    let line = &scene.drawn(SMALL)[2];
    let words: Vec<_> = line.split_whitespace().collect();
    let (control, responses) =
        (&scene.screen.seen.instances[0].control, dealer.response_address().to_string());
    assert_eq!(words, ["dealer", &dealer.id().to_string()[..8], control, &responses], "{line}");

    scene.press(KeyCode::Tab);
    let screen = scene.drawn(SMALL);
    // The names of files of rings give way to what there is more to learn from.
    let address = scene.screen.seen.adverts[0].address.clone().unwrap();
    assert!(screen[2].starts_with("fx.EURUSD ") && screen[2].ends_with(" dealer"), "{screen:#?}");
    assert!(screen[2].contains(&format!(" {address}/")), "{screen:#?}");
    let screen = scene.drawn(WIDE);
    let cells: Vec<_> = screen[1].split_whitespace().collect();
    assert_eq!(cells, ["topic", "side", "transport", "place", "instance"]);
    assert!(screen[2].starts_with("fx.EURUSD ") && screen[2].ends_with("dealer"), "{screen:#?}");
    let words: Vec<_> = screen[3].split_whitespace().collect();
    assert_eq!(words[..3], ["ipc.book", "publisher", "ipc"], "{screen:#?}");
    let ring = format!("{}-", dealer.id().to_string().replace('-', ""));
    assert!(words[3].starts_with(&ring), "{screen:#?}");
    scene.press(KeyCode::Down);
    assert!(scene.drawn(WIDE)[2].starts_with("ipc.book "), "{:#?}", scene.drawn(WIDE));
    scene.press(KeyCode::PageDown);
    assert!(scene.drawn(WIDE)[2].starts_with("ipc.book "), "the last line is left");
    scene.press(KeyCode::Home);
    scene.press(KeyCode::BackTab);
    assert!(scene.drawn(WIDE)[2].starts_with("dealer "), "{:#?}", scene.drawn(WIDE));

    drop(publishers);
    scene.look_until(2, 0);
    pricer.close().unwrap();
    scene.look_until(1, 0);
    scene.look_until_shown(", goodbye");
    let screen = scene.drawn(WIDE);
    assert!(screen[0].ends_with("  1 instance, 0 topics"), "{screen:#?}");
}

#[test]
fn only_what_is_wanted_is_shown_and_the_last_events() {
    let mut scene = Scene::new(Some("fx\\..*"), Some("deal.*"));
    let (dealer, other) = (scene.start("dealer"), scene.start("other"));
    let topics: Vec<_> = (0..LAST_EVENTS + 2).map(|it| format!("fx.{it}")).collect();
    let publishers: Vec<_> = topics.iter().map(|it| dealer.publisher(it).unwrap()).collect();
    let _others = [dealer.publisher("ipc.book").unwrap(), other.publisher("fx.0").unwrap()];
    scene.look_until(1, topics.len());
    drop(publishers);
    scene.look_until(1, 0);
    let last = |index: usize| format!("- dealer  publisher of {} by", topics[index]);
    let mut shown = 0;
    while shown < LAST_EVENTS {
        scene.look_until_shown("- dealer  publisher of ");
        scene.screen.look(&scene.sniffer, &scene.outlet);
        let log = scene.drawn(WIDE);
        let log = &log[log.len() - 1 - LAST_EVENTS..log.len() - 1];
        shown = log.iter().filter(|line| line.contains("- dealer  publisher of fx.")).count();
        assert!(!log.iter().any(|line| line.contains("other") || line.contains("ipc.book")));
    }
    assert_eq!(scene.screen.events.len(), LAST_EVENTS);
    assert!((0..topics.len()).any(|index| scene.screen.events[0].contains(&last(index))));
}
