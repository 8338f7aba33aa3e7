//! The desk as its callers see it.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::brake::Budget;
use super::*;
use crate::clock::SystemClock;
use crate::wire::{Answer, Event, Outcome};

fn desk() -> Desk {
    Desk::new(Arc::new(SystemClock))
}

fn person() -> Whereabouts {
    Whereabouts {
        pid: 10,
        session: 9,
        terminal: Some(2),
        foreground: true,
        ancestors: vec![],
    }
}

fn agent() -> Whereabouts {
    Whereabouts {
        pid: 20,
        session: 19,
        ..Whereabouts::default()
    }
}

async fn open<'d>(desk: &'d Desk, whereabouts: &Whereabouts, own: Option<u64>) -> Result<Prompt<'d>, PromptError> {
    let (whose, tell) = (Whose { whereabouts, own }, unbounded_channel().0);
    let turn = desk.turn(whose, &tell).await?;
    let showing = Showing {
        beside: None,
        text: "{}",
        id: "1",
        words: ["abandon"; 4],
        keys: vec![],
        vault: String::new(),
        open_for: Duration::from_secs(60),
    };
    turn.show(showing, whose, tell).await
}

async fn next_prompt(rx: &mut UnboundedReceiver<Event>) -> u64 {
    loop {
        if let Event::Prompt(view) = rx.recv().await.unwrap() {
            return view.prompt;
        }
    }
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test);
}

#[test]
fn without_a_screen_no_prompt_opens() {
    run(async {
        let (desk, requester) = (desk(), agent());
        let refused = open(&desk, &requester, None).await;
        assert_eq!(refused.err(), Some(PromptError::NoScreen));
    });
}

#[test]
fn a_screen_that_does_not_say_shown_is_not_trusted_with_the_prompt() {
    run(async {
        let (desk, requester) = (desk(), agent());
        let (tx, _rx) = unbounded_channel();
        let _watch = desk.attach(ScreenKind::Watch, person(), tx);
        assert_eq!(open(&desk, &requester, None).await.err(), Some(PromptError::ScreenGone));
    });
}

#[test]
fn a_denial_reaches_the_prompt_and_only_from_a_screen_that_was_sent_it() {
    run(async {
        let (desk, requester) = (desk(), agent());
        let (tx, mut rx) = unbounded_channel();
        let watch = desk.attach(ScreenKind::Watch, person(), tx);
        let foreign = desk.attach(ScreenKind::Own, person(), unbounded_channel().0);
        let opening = open(&desk, &requester, None);
        let (prompt, ()) = tokio::join!(opening, async {
            let prompt = next_prompt(&mut rx).await;
            desk.answer(foreign.id(), Answer::Deny { prompt });
            desk.answer(watch.id(), Answer::Shown { prompt });
        });
        let prompt = prompt.unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(1), prompt.refused()).await.is_err());
        desk.answer(watch.id(), Answer::Deny { prompt: prompt.number() });
        assert_eq!(prompt.refused().await, Outcome::Denied);
    });
}

#[test]
fn a_prompt_whose_screens_are_all_closed_is_refused() {
    run(async {
        let (desk, requester) = (desk(), agent());
        let (tx, mut rx) = unbounded_channel();
        let watch = desk.attach(ScreenKind::Watch, person(), tx);
        let opening = open(&desk, &requester, None);
        let (prompt, ()) = tokio::join!(opening, async {
            let prompt = next_prompt(&mut rx).await;
            desk.answer(watch.id(), Answer::Shown { prompt });
        });
        let prompt = prompt.unwrap();
        drop(watch);
        assert_eq!(prompt.refused().await, Outcome::NoScreen);
    });
}

#[test]
fn one_prompt_is_open_at_a_time_and_a_person_at_his_own_terminal_goes_first() {
    run(async {
        let (desk, requester) = (desk(), agent());
        let (tx, mut rx) = unbounded_channel();
        let watch = desk.attach(ScreenKind::Watch, person(), tx);
        let (own_tx, mut own_rx) = unbounded_channel();
        let own_whereabouts = Whereabouts {
            pid: 30,
            session: 29,
            terminal: Some(3),
            foreground: true,
            ancestors: vec![],
        };
        let own = desk.attach(ScreenKind::Own, own_whereabouts.clone(), own_tx);

        let (first, ()) = tokio::join!(open(&desk, &requester, None), async {
            let prompt = next_prompt(&mut rx).await;
            desk.answer(watch.id(), Answer::Shown { prompt });
        });
        let order = RefCell::new(Vec::new());
        let second = async {
            let prompt = open(&desk, &requester, None).await.unwrap();
            order.borrow_mut().push("watch");
            drop(prompt);
        };
        let third = async {
            let prompt = open(&desk, &own_whereabouts, Some(own.id())).await.unwrap();
            order.borrow_mut().push("own");
            drop(prompt);
        };
        let person = async {
            assert_eq!(desk.counts(), (1, 3));
            drop(first.unwrap());
            let prompt = next_prompt(&mut own_rx).await;
            desk.answer(own.id(), Answer::Shown { prompt });
            let prompt = next_prompt(&mut rx).await;
            desk.answer(watch.id(), Answer::Shown { prompt });
        };
        tokio::join!(second, third, async {
            tokio::task::yield_now().await;
            person.await;
        });
        assert_eq!(*order.borrow(), ["own", "watch"]);
    });
}

#[test]
fn t12_a_flood_is_refused_after_ten_prompts() {
    run(async {
        let (desk, requester) = (desk(), agent());
        let (tx, mut rx) = unbounded_channel();
        let watch = desk.attach(ScreenKind::Watch, person(), tx);
        for _ in 0..10 {
            let (prompt, ()) = tokio::join!(open(&desk, &requester, None), async {
                let prompt = next_prompt(&mut rx).await;
                desk.answer(watch.id(), Answer::Shown { prompt });
            });
            drop(prompt.unwrap());
        }
        let eleventh = open(&desk, &requester, None).await.err();
        assert!(matches!(eleventh, Some(PromptError::TooMany { .. })), "{eleventh:?}");
    });
}

#[test]
fn who_waits_for_the_end_of_a_pause_is_woken_by_an_approval() {
    run(async {
        let (desk, requester) = (desk(), agent());
        let (tx, mut rx) = unbounded_channel();
        let watch = desk.attach(ScreenKind::Watch, person(), tx);
        // Six denials in a row: the next prompt has to wait for more than a minute.
        for _ in 0..6 {
            let now = desk.clock.boot();
            desk.state.borrow_mut().brakes.get_mut(Budget::Watches).denied(now);
        }
        let since = tokio::time::Instant::now();
        let waiting = open(&desk, &requester, None);
        let (prompt, ()) = tokio::join!(waiting, async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            desk.state.borrow_mut().brakes.get_mut(Budget::Watches).approved();
            desk.changed.notify_waiters();
            let prompt = next_prompt(&mut rx).await;
            desk.answer(watch.id(), Answer::Shown { prompt });
        });
        assert!(prompt.is_ok());
        assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    });
}
