//! What a viewer, which shows whatever a stranger has sent, can reach.

use std::os::unix::net::UnixListener;
use std::path::Path;

use warifu_virtual_card::readers;

use crate::desk::{Desk, until};
use crate::organization::Unit;

/// Runs a shell script as the viewer, and returns what it wrote.
fn seen_by_viewer(desk: &mut Desk, script: &str) -> String {
    let unit = Unit::draw("税務課");
    let member = desk.member(&[&unit]);
    let script = format!("{{ {script}; }} > report.part 2>&1; mv report.part report; exec tail -f -- \"$1\"");
    desk.start_agent_with(&["bash", "-c", &script, "viewer"]);
    desk.insert_and_unlock(member.index);
    let shown = desk.view(&desk.sealed("a.txt.age", &unit.key, b"secret")).unwrap();
    let report = shown.parent().unwrap().join("report");
    until("the viewer has looked around", || std::fs::read_to_string(&report).ok())
}

#[test]
fn a_viewer_inherits_no_connection_of_the_agent() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let report = seen_by_viewer(&mut desk, "ls -l /proc/$$/fd");
        assert!(report.contains("-> /dev/null"), "{report}");
        assert!(!report.contains("socket:"), "{report}");
    });
}

#[test]
fn a_viewer_reaches_no_service_and_no_home() {
    readers::private(1, |readers| {
        let mut desk = Desk::new(readers);
        let home = desk.path("person");
        std::fs::create_dir(&home).unwrap();
        std::fs::write(home.join("kept"), "exported before").unwrap();
        desk.environment("HOME", &home);
        assert!(Path::new("/run/pcscd/pcscd.comm").exists(), "the test means something");
        let listener = UnixListener::bind(home.join("socket")).unwrap();
        let script = format!(
            "ls -d /run/pcscd/* /run/dbus/* {home}/*; cat {run}/agent.json; echo x > {outside}/leak; \
             grep -i '^cap...:' /proc/self/status",
            home = home.display(),
            run = desk.path("run").display(),
            outside = desk.folder.path().display(),
        );
        let report = seen_by_viewer(&mut desk, &script);
        for seen in ["/run/pcscd/pcscd.comm\n", "system_bus_socket\n", "/kept\n", "/socket\n", "\"token\""] {
            assert!(!report.contains(seen), "{seen:?}: {report}");
        }
        assert!(report.contains("CapEff:\t0000000000000000"), "{report}");
        assert!(!desk.path("leak").exists());
        drop(listener);
    });
}
