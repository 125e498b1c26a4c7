//! A kernel that checks itself has nothing to say of the driver: KASAN, lockdep,
//! DMA_API_DEBUG, kmemleak and allocations that fail.

use std::time::Duration;

use pinhole::agent::protocol::{Log, Run};
use pinhole::card::{BufferApi, CardKind};
use pinhole::rig::compliance;
use pinhole::rig::kernel_log;
use pinhole::rig::testbed::TestbedSpec;
use pinhole::vm::command_line::port;
use serde_json::{Value, json};

use crate::test_guest::{LIMIT, TestGuest};

/// The guest, the younger sister of the default one.
pub const KERNEL: &str = "trixie-checked";

/// How often the driver or the card goes, unless `PINHOLE_CYCLES` says so.
const CYCLES: usize = 8;

fn cycles() -> usize {
    let set = std::env::var("PINHOLE_CYCLES").ok();
    set.and_then(|number| number.parse().ok()).unwrap_or(CYCLES)
}

fn guest() -> TestGuest {
    TestGuest::start(TestbedSpec {
        kernel: Some(KERNEL.into()),
        append: "kasan_multi_shot page_owner=on".into(),
        ..TestbedSpec::default()
    })
}

impl TestGuest {
    /// Nothing is broken, and whoever would have said so still could.
    fn nothing_is_said(&self) {
        self.no_splats();
        let stats = self.must("cat /proc/lockdep_stats");
        let alive =
            |line: &str| line.trim_start().starts_with("debug_locks:") && line.ends_with('1');
        assert!(
            stats.lines().any(alive),
            "lockdep has turned itself off\n{stats}"
        );
    }
}

/// Somebody has the device open throughout, as when a driver goes under a
/// program.
const HOLD: &str = "exec 3</dev/video0; sleep 1000";

#[test]
#[ignore = "boots a guest"]
fn unbinding_under_a_stream_and_an_open_node_leaves_nothing_to_say() {
    let guest = guest();
    let device = guest
        .must("basename $(ls -d /sys/bus/virtio/drivers/pinhole/virtio*)")
        .trim()
        .to_owned();
    for _ in 0..cycles() {
        let agent = guest.testbed.machine.agent();
        let held = agent.start(Run::new(["sh", "-c", HOLD])).unwrap();
        let stream = guest.stream();
        guest.must(&format!(
            "echo {device} > /sys/bus/virtio/drivers/pinhole/unbind"
        ));
        stream.wait(LIMIT).unwrap();
        // As long as it is open, the node's number is not free.
        guest.interrupt(held);
        guest.must(&format!(
            "echo {device} > /sys/bus/virtio/drivers/pinhole/bind"
        ));
        guest.still_works();
    }
    guest.nothing_is_said();
    guest.testbed.finish().unwrap();
}

#[test]
#[ignore = "boots a guest"]
fn a_card_that_is_unplugged_under_a_stream_and_plugged_in_again_leaves_nothing_to_say() {
    let mut guest = guest();
    for cycle in 0..cycles() {
        let stream = guest.stream();
        guest.unplug(cycle);
        stream.wait(LIMIT).unwrap();
        guest.plug(cycle + 1);
        guest.still_works();
    }
    guest.nothing_is_said();
    guest.testbed.finish().unwrap();
}

impl TestGuest {
    fn qmp(&mut self, command: &str, arguments: Value) -> Value {
        let qmp = self.testbed.machine.qmp();
        qmp.execute(command, arguments, LIMIT).unwrap()
    }

    /// Takes the card out of the machine, as the nth that was in it.
    fn unplug(&mut self, nth: usize) {
        self.qmp("device_del", json!({ "id": name(nth) }));
        let gone = |event: &pinhole::vm::qmp::Event| {
            event.event == "DEVICE_DELETED" && event.data["device"] == name(nth)
        };
        let qmp = self.testbed.machine.qmp();
        qmp.wait_event(gone, LIMIT).unwrap();
        self.qmp("chardev-remove", json!({ "id": name(nth) }));
    }

    /// Puts the card into the machine again, and waits until the guest has it.
    fn plug(&mut self, nth: usize) {
        let device = self.testbed.device.clone().expect("a card");
        let address = json!({ "type": "unix", "data": { "path": device.socket } });
        let backend = json!({ "type": "socket", "data": { "addr": address, "server": false } });
        self.qmp(
            "chardev-add",
            json!({ "id": name(nth), "backend": backend }),
        );
        let mut arguments = json!({
            "driver": device.device,
            "id": name(nth),
            "bus": port(0),
            "chardev": name(nth),
        });
        for property in &device.properties {
            let (key, value) = property.split_once('=').unwrap();
            arguments[key] = value
                .parse::<u32>()
                .map_or_else(|_| json!(value), |number| json!(number));
        }
        self.qmp("device_add", arguments);
        self.must("for i in $(seq 600); do test -e /dev/video0 && exit 0; sleep 0.1; done; exit 1");
    }
}

/// What the card that was plugged in as the nth is called in QEMU.
fn name(nth: usize) -> String {
    format!("vhost-user{nth}")
}

#[test]
#[ignore = "boots a guest"]
fn the_device_complies_and_nothing_is_said() {
    let guest = TestGuest::start(compliance::testbed(
        KERNEL,
        CardKind::Capture,
        BufferApi::Single,
    ));
    let agent = guest.testbed.machine.agent();
    let judgement = compliance::judge(agent, "/dev/video0", &["--streaming=2"], |_| {}).unwrap();
    assert!(
        judgement.failed == 0 && judgement.total > 40,
        "{judgement:#?}"
    );
    guest.nothing_is_said();
    guest.testbed.finish().unwrap();
}

/// The instrument itself: a lock taken in two orders would be told.
#[test]
#[ignore = "boots a guest"]
fn the_checks_are_alive() {
    let guest = guest();
    let agent = guest.testbed.machine.agent();
    for (path, holds) in [
        ("/proc/lockdep_stats", "debug_locks"),
        ("/sys/kernel/debug/kmemleak", ""),
        ("/sys/kernel/debug/dma-api/dump", "virtio"),
        ("/sys/kernel/debug/failslab/times", ""),
        ("/sys/kernel/mm/page_idle", ""),
    ] {
        guest.must(&format!("test -e {path}"));
        if !holds.is_empty() {
            guest.must(&format!("grep -q {holds} {path}"));
        }
    }
    let log = agent
        .call(Log { since: 0 }, Duration::from_secs(60))
        .unwrap();
    assert!(
        log.records
            .iter()
            .any(|record| record.text.contains("KernelAddressSanitizer"))
    );
    assert!(kernel_log::splats(&log.records).is_empty());
    guest.testbed.finish().unwrap();
}
