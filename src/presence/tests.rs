//! The desk as its callers see it.
#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::brake::Budget;
use super::*;
use crate::clock::SystemClock;
use crate::wire::{Answer, Event, Outcome, Room, Side};

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
        by: "codex <- zsh".into(),
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
fn a_watch_that_the_requester_owns_is_said_to_be_the_reason() {
    run(async {
        let (desk, requester) = (desk(), agent());
        let own = desk.attach(ScreenKind::Watch, agent(), unbounded_channel().0);
        assert_eq!(open(&desk, &requester, None).await.err(), Some(PromptError::OwnWatch));
        drop(own);
        assert_eq!(open(&desk, &requester, None).await.err(), Some(PromptError::NoScreen));
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
fn a_screen_that_is_too_small_says_so_at_once_and_one_that_is_not_keeps_the_prompt() {
    run(async {
        let (desk, requester) = (desk(), agent());
        let (tx, mut rx) = unbounded_channel();
        let small = desk.attach(ScreenKind::Watch, person(), tx);
        let room = Room {
            of: Side::Lines,
            needs: 10,
            has: 6,
        };
        let start = tokio::time::Instant::now();
        let (refused, ()) = tokio::join!(open(&desk, &requester, None), async {
            let prompt = next_prompt(&mut rx).await;
            desk.answer(small.id(), Answer::TooSmall { prompt, room });
        });
        assert_eq!(refused.err(), Some(PromptError::TooSmall(room)));
        assert_eq!(start.elapsed(), Duration::ZERO);

        let (tx, mut large_rx) = unbounded_channel();
        let large = desk.attach(ScreenKind::Watch, person(), tx);
        let (prompt, ()) = tokio::join!(open(&desk, &requester, None), async {
            let prompt = next_prompt(&mut rx).await;
            desk.answer(small.id(), Answer::TooSmall { prompt, room });
            tokio::task::yield_now().await;
            assert_eq!(next_prompt(&mut large_rx).await, prompt);
            desk.answer(large.id(), Answer::Shown { prompt });
        });
        prompt.unwrap();
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
fn one_prompt_is_open_at_a_time_and_where_no_watch_shows_it_a_person_at_his_own_terminal_goes_first() {
    run(async {
        let (desk, requester) = (desk(), agent());
        let (tx, mut rx) = unbounded_channel();
        let watch = desk.attach(ScreenKind::Watch, person(), tx);
        let (own_tx, mut own_rx) = unbounded_channel();
        // Of the session of the watch, which is his, then.
        let own_whereabouts = Whereabouts { pid: 30, ..person() };
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

/// A terminal that somebody made for himself.
fn terminal(number: u32) -> Whereabouts {
    Whereabouts {
        pid: 100 + number,
        session: 100 + number,
        terminal: Some(136 << 8 | number),
        foreground: true,
        ancestors: vec![],
    }
}

async fn next_view(rx: &mut UnboundedReceiver<Event>) -> crate::wire::PromptView {
    loop {
        if let Event::Prompt(view) = rx.recv().await.unwrap() {
            return view;
        }
    }
}

/// Opens a prompt at a terminal of its own; no watch is open.
async fn open_own<'d>(desk: &'d Desk, whereabouts: &Whereabouts) -> Result<Prompt<'d>, PromptError> {
    let (tx, mut rx) = unbounded_channel();
    let own = desk.attach(ScreenKind::Own, whereabouts.clone(), tx);
    let opened = open(desk, whereabouts, Some(own.id()));
    let answer = async {
        if let Some(Event::Prompt(view)) = rx.recv().await {
            desk.answer(own.id(), Answer::Shown { prompt: view.prompt });
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        opened = opened => opened,
        () = answer => unreachable!(),
    }
}

#[test]
fn t10_what_is_asked_at_the_requesters_own_terminal_stands_on_the_watch_too_and_is_not_armed_before() {
    run(async {
        let (desk, requester) = (desk(), terminal(7));
        let (tx, mut rx) = unbounded_channel();
        let watch = desk.attach(ScreenKind::Watch, person(), tx);
        let (own_tx, mut own_rx) = unbounded_channel();
        let own = desk.attach(ScreenKind::Own, requester.clone(), own_tx);
        let (prompt, ()) = tokio::join!(open(&desk, &requester, Some(own.id())), async {
            let view = next_view(&mut own_rx).await;
            assert_eq!(view.elsewhere, None);
            desk.answer(own.id(), Answer::Shown { prompt: view.prompt });
            tokio::task::yield_now().await;
            assert!(!desk.state.borrow().open.as_ref().unwrap().is_shown(), "armed by its own terminal");
            let view = next_view(&mut rx).await;
            assert_eq!(view.elsewhere.as_deref(), Some("pts/7"));
            desk.answer(watch.id(), Answer::Shown { prompt: view.prompt });
        });
        let prompt = prompt.unwrap();
        desk.answer(watch.id(), Answer::Deny { prompt: prompt.number() });
        assert_eq!(prompt.refused().await, Outcome::Denied);
    });
}

#[test]
fn t10_a_watch_that_cannot_show_what_is_asked_elsewhere_keeps_it_from_being_armed() {
    run(async {
        let (desk, requester) = (desk(), terminal(7));
        let _watch = desk.attach(ScreenKind::Watch, person(), unbounded_channel().0);
        assert_eq!(open_own(&desk, &requester).await.err(), Some(PromptError::NotOnWatch));
    });
}

#[test]
fn a_watch_that_is_closed_leaves_the_prompt_to_the_requesters_own_terminal() {
    run(async {
        let (desk, requester) = (desk(), terminal(7));
        let (tx, mut rx) = unbounded_channel();
        let watch = desk.attach(ScreenKind::Watch, person(), tx);
        let own = desk.attach(ScreenKind::Own, requester.clone(), unbounded_channel().0);
        let (prompt, ()) = tokio::join!(open(&desk, &requester, Some(own.id())), async {
            let prompt = next_prompt(&mut rx).await;
            desk.answer(watch.id(), Answer::Shown { prompt });
            desk.answer(own.id(), Answer::Shown { prompt });
        });
        let prompt = prompt.unwrap();
        drop(watch);
        assert!(tokio::time::timeout(Duration::from_secs(1), prompt.refused()).await.is_err());
    });
}

#[test]
fn t12_while_a_watch_is_open_a_terminal_of_its_own_puts_nobody_in_front() {
    run(async {
        let (desk, requester) = (desk(), agent());
        let _watch = desk.attach(ScreenKind::Watch, person(), unbounded_channel().0);
        let turn = |whereabouts, own| super::turn::Turn::take(&desk, Whose { whereabouts, own });
        let first = turn(&requester, None);
        let made = terminal(7);
        let own = desk.attach(ScreenKind::Own, made.clone(), unbounded_channel().0);
        let second = turn(&made, Some(own.id()));
        let order: Vec<_> = desk.state.borrow().queue.iter().map(|waiting| waiting.number).collect();
        assert_eq!(order, [first.number, second.number]);
    });
}

#[test]
fn t12_a_terminal_for_each_prompt_is_no_budget_for_each_and_a_denial_slows_the_next_one() {
    run(async {
        let desk = desk();
        for number in 0..10 {
            drop(open_own(&desk, &terminal(number)).await.unwrap());
        }
        let eleventh = open_own(&desk, &terminal(10)).await.err();
        assert!(matches!(eleventh, Some(PromptError::TooMany { .. })), "{eleventh:?}");

        let desk = self::desk();
        open_own(&desk, &terminal(0)).await.unwrap().failed(Outcome::Denied);
        let made = terminal(1);
        let next = Whose {
            whereabouts: &made,
            own: Some(1),
        };
        assert!(desk.state.borrow().brakes.of(next).wait(desk.clock.boot()).is_some());
    });
}

#[test]
fn t12_what_a_person_touches_for_at_his_own_terminal_is_not_counted() {
    run(async {
        let desk = desk();
        for _ in 0..30 {
            open_own(&desk, &terminal(1)).await.unwrap().approved();
        }
        // A PIN that was typed is no touch.
        for _ in 0..10 {
            open_own(&desk, &terminal(1)).await.unwrap().answered();
        }
        let refused = open_own(&desk, &terminal(1)).await.err();
        assert!(matches!(refused, Some(PromptError::TooMany { .. })), "{refused:?}");
    });
}

#[test]
fn t10_that_a_prompt_is_shown_counts_only_from_a_screen_that_it_was_sent_to() {
    run(async {
        let (desk, requester) = (desk(), agent());
        let (tx, mut rx) = unbounded_channel();
        let _watch = desk.attach(ScreenKind::Watch, person(), tx);
        let foreign = desk.attach(ScreenKind::Own, terminal(7), unbounded_channel().0);
        let (prompt, ()) = tokio::join!(open(&desk, &requester, None), async {
            let prompt = next_prompt(&mut rx).await;
            desk.answer(foreign.id(), Answer::Shown { prompt });
        });
        assert_eq!(prompt.err(), Some(PromptError::ScreenGone));
    });
}

#[test]
fn t10_a_screen_takes_back_that_it_shows_a_prompt_and_may_show_it_again() {
    run(async {
        let (desk, requester) = (desk(), agent());
        let (tx, mut rx) = unbounded_channel();
        let watch = desk.attach(ScreenKind::Watch, person(), tx);
        let (prompt, ()) = tokio::join!(open(&desk, &requester, None), async {
            let prompt = next_prompt(&mut rx).await;
            desk.answer(watch.id(), Answer::Shown { prompt });
        });
        let prompt = prompt.unwrap();
        let second = Duration::from_secs(1);
        assert!(tokio::time::timeout(second, prompt.hidden()).await.is_err());
        desk.answer(watch.id(), Answer::Hidden { prompt: prompt.number() });
        prompt.hidden().await;
        assert!(tokio::time::timeout(second, prompt.refused()).await.is_err(), "it may come back");
        desk.answer(watch.id(), Answer::Shown { prompt: prompt.number() });
        prompt.shown().await;
        desk.answer(watch.id(), Answer::Hidden { prompt: prompt.number() });
        drop(watch);
        assert_eq!(prompt.refused().await, Outcome::NoScreen);
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
fn t12_who_waits_because_prompts_were_denied_is_told_for_how_long() {
    run(async {
        let (desk, requester) = (desk(), agent());
        let (screen, _seen) = unbounded_channel();
        let _watch = desk.attach(ScreenKind::Watch, person(), screen);
        for _ in 0..2 {
            let now = desk.clock.boot();
            desk.state.borrow_mut().brakes.get_mut(Budget::Watches).denied(now);
        }
        let (tell, mut told) = unbounded_channel();
        let whose = Whose {
            whereabouts: &requester,
            own: None,
        };
        let said = tokio::select! {
            turn = desk.turn(whose, &tell) => panic!("it did not wait: {:?}", turn.err()),
            said = told.recv() => said,
        };
        assert!(
            matches!(&said, Some(Event::Note { what }) if what == "the last prompts were denied: the next one opens in 4 s"),
            "{said:?}"
        );
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
