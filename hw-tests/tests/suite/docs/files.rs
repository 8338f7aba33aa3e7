//! The files that the pages show can be used as they stand.

use touchlease::{config::Config, lease::task::Task};

use super::{blocks, page};

#[test]
fn every_task_file_in_the_pages_is_read_and_each_of_its_tasks_is_good() {
    let shown = blocks(&page("tasks.md"), "toml");
    assert!(!shown.is_empty());
    for file in shown {
        let names = Task::names(&file).unwrap();
        assert!(!names.is_empty(), "{file}");
        for name in names {
            Task::parse(&file, &name).unwrap();
        }
    }
}

#[test]
fn the_configuration_shown_is_the_default_in_every_limit() {
    let shown = blocks(&page("daemon.md"), "toml");
    assert_eq!(shown.len(), 1);
    let config = Config::parse(&shown[0]).unwrap();
    assert_eq!(config.limits, Config::default().limits);
}
