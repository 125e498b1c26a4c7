//! Features, configuration, and the life of the queues.

use vhost::VhostBackend;
use vhost::vhost_user::VhostUserFrontend;
use vhost::vhost_user::message::{VhostUserConfigFlags, VhostUserProtocolFeatures};

use super::lab::Lab;
use super::stop::{OrFailed, Stop, Tested, ensure, failed};
use super::stream::Stream;
use super::survey::{CONFIG, config};
use crate::scripted::driver::front::{EVENT_IDX, INDIRECT_DESC, PROTOCOL_FEATURES, VERSION_1};
use crate::scripted::driver::queue::{Queue, SIZE};
use crate::scripted::driver::v4l2::{CMD_OPEN, Fields, command};
use crate::scripted::driver::{Driver, Options};

/// The feature bits of a device type.
const OF_THE_TYPE: u64 = 0xff_ffff | 0x3fff << 50;

/// Bits outside of them that VIRTIO 1.4 or vhost-user has: NOTIFY_ON_EMPTY (24)
/// and ANY_LAYOUT (27) of legacy devices, VHOST_F_LOG_ALL (26), INDIRECT_DESC
/// (28), EVENT_IDX (29), VHOST_USER_F_PROTOCOL_FEATURES (30), and VERSION_1 (32)
/// to SUSPEND (42).
const KNOWN: u64 = 1 << 24 | 0x1f << 26 | 0x7ff << 32;

/// Messages that set a driver up except for those that enable the rings.
const ALL_BUT_ENABLE: usize = 13;

/// GD-4.
pub fn features_have_what_they_need(lab: &mut Lab) -> Tested {
    let offered = VhostUserProtocolFeatures::from_bits_truncate(lab.survey.protocol);
    let channel = VhostUserProtocolFeatures::BACKEND_REQ;
    for (name, needs_it) in [
        ("SHMEM", VhostUserProtocolFeatures::SHMEM),
        (
            "BACKEND_SEND_FD",
            VhostUserProtocolFeatures::BACKEND_SEND_FD,
        ),
    ] {
        ensure(
            !offered.contains(needs_it) || offered.contains(channel),
            format!("BACKEND_REQ beside {name}, which needs it"),
            format!("protocol features {:#x}", lab.survey.protocol),
        )?;
    }
    Ok(())
}

/// GD-5.
pub fn any_subset_is_accepted(lab: &mut Lab) -> Tested {
    let least = VERSION_1 | PROTOCOL_FEATURES;
    for more in [0, INDIRECT_DESC, EVENT_IDX, INDIRECT_DESC | EVENT_IDX] {
        let options = Options {
            features: least | more,
            ..lab.options()
        };
        let features = (least | more) & lab.survey.features;
        let expected = format!("a session with the features {features:#x}");
        let mut driver = lab.connect(options)?;
        driver.start().or_failed(&expected)?;
        driver.open().or_failed(&expected)?;
    }
    Ok(())
}

/// GD-6.
pub fn no_unknown_feature(lab: &mut Lab) -> Tested {
    let unknown = lab.survey.features & !OF_THE_TYPE & !KNOWN;
    let expected = "no feature that is reserved or unknown";
    ensure(unknown == 0, expected, format!("{unknown:#x}"))
}

/// GD-14.
pub fn version_1(lab: &mut Lab) -> Tested {
    let features = lab.survey.features;
    let expected = "VIRTIO_F_VERSION_1 (bit 32)";
    ensure(
        features & VERSION_1 != 0,
        expected,
        format!("features {features:#x}"),
    )
}

/// MP-1.
pub fn two_queues_and_no_features(lab: &mut Lab) -> Tested {
    let own = lab.survey.features & OF_THE_TYPE;
    let expected = "no feature bit of the device type";
    ensure(own == 0, expected, format!("{own:#x}"))?;
    match lab.survey.queues {
        Some(queues) => ensure(queues == 2, "two queues", queues),
        None => Ok(()),
    }
}

/// GD-10.
pub fn configuration_before_features(lab: &mut Lab) -> Tested {
    let mut driver = lab.connect(lab.options())?;
    if !driver.connection.has(VhostUserProtocolFeatures::CONFIG) {
        let why = "it does not offer VHOST_USER_PROTOCOL_F_CONFIG";
        return Err(Stop::NotOffered(why.into()));
    }
    let expected = "the configuration before SET_FEATURES, as it is after it";
    let before = config(&driver, 0, CONFIG).or_failed(expected)?;
    driver.start()?;
    let after = config(&driver, 0, CONFIG)?;
    ensure(
        before == after,
        expected,
        format!("{before:02x?}, then {after:02x?}"),
    )
}

/// MP-2.
pub fn configuration(lab: &mut Lab) -> Tested {
    let driver = lab.driver()?;
    if !driver.connection.has(VhostUserProtocolFeatures::CONFIG) {
        let why = "it does not offer VHOST_USER_PROTOCOL_F_CONFIG";
        return Err(Stop::NotOffered(why.into()));
    }
    let whole = config(&driver, 0, CONFIG).or_failed("a configuration of 40 bytes")?;
    lab.log.note(|| format!("GET_CONFIG: {whole:02x?}"));
    // enum vfl_devnode_type, from VFL_TYPE_VIDEO to VFL_TYPE_TOUCH.
    let kind = whole.le32(4);
    ensure(kind <= 5, "a device_type from 0 to 5", kind)?;
    let card = &whole[8..];
    let end = card
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(card.len());
    let name = std::str::from_utf8(&card[..end]);
    name.map_err(|_| failed("a card's name in UTF-8", format!("{:02x?}", &card[..end])))?;
    let expected = "the same bytes when a part is read";
    let part = config(&driver, 8, 4).or_failed(expected)?;
    ensure(part == whole[8..12], expected, format!("{part:02x?}"))?;
    // What the back end says to this is its own matter; it may hang up.
    let _ = driver.connection.message("SET_CONFIG", |front| {
        front.set_config(8, VhostUserConfigFlags::WRITABLE, b"overwritten")
    });
    let expected = "a configuration that the driver cannot write";
    if let Ok(again) = config(&driver, 0, CONFIG) {
        ensure(again == whole, expected, format!("{again:02x?}"))?;
    }
    drop(driver);
    let driver = lab.driver()?;
    let again = config(&driver, 0, CONFIG)?;
    ensure(again == whole, expected, format!("{again:02x?}"))
}

/// Kicks both queues, whatever the device asked for.
fn kick(driver: &Driver) {
    driver.commands.kick();
    driver.events.kick();
}

/// Watches for anything that the device does with its queues, from what it has
/// used so far.
fn is_idle(lab: &Lab, driver: &Driver, what: &str, used: [u16; 2]) -> Tested {
    let queues = [&driver.commands, &driver.events];
    let mut seen = None;
    lab.is_quiet(|| {
        for (queue, before) in queues.iter().zip(used) {
            if queue.used_index(&driver.memory) != before {
                seen = Some(format!("queue {} is used", queue.number));
            } else if queue.take_call() {
                seen = Some(format!("queue {} notifies", queue.number));
            }
        }
        seen.is_some()
    });
    match seen {
        None => Ok(()),
        Some(seen) => Err(failed(what, seen)),
    }
}

/// GD-1.
pub fn nothing_before_driver_ok(lab: &mut Lab) -> Tested {
    let mut driver = lab.connect(lab.options())?;
    if driver.features() & PROTOCOL_FEATURES == 0 {
        let why = "without VHOST_USER_F_PROTOCOL_FEATURES there is no DRIVER_OK to see";
        return Err(Stop::NotOffered(why.into()));
    }
    driver.start_some(ALL_BUT_ENABLE)?;
    driver.barrier()?;
    // A notification may come with the descriptor for it.
    for queue in [&driver.commands, &driver.events] {
        queue.take_call();
    }
    driver.post_event_buffer()?;
    let ticket = driver.submit(&command(CMD_OPEN), 16)?;
    kick(&driver);
    is_idle(lab, &driver, "nothing before the rings are enabled", [0, 0])?;
    for queue in [0, 1] {
        driver.connection.message("SET_VRING_ENABLE", |front| {
            front.set_vring_enable(queue, true)
        })?;
    }
    kick(&driver);
    driver.wait(ticket)?;
    Ok(())
}

/// Resets the device as far as it can be.
fn reset(driver: &mut Driver) -> Tested {
    match driver
        .connection
        .has(VhostUserProtocolFeatures::RESET_DEVICE)
    {
        true => driver
            .connection
            .message("RESET_DEVICE", |front| front.reset_device())?,
        false => {
            driver.stop_rings()?;
        }
    }
    driver.barrier()?;
    Ok(())
}

/// GD-7.
pub fn features_again_after_reset(lab: &mut Lab) -> Tested {
    let mut driver = lab.driver()?;
    driver.open()?;
    reset(&mut driver)?;
    let expected = "a session with the same features after the reset";
    driver.restart().or_failed(expected)?;
    driver.open().or_failed(expected)?;
    Ok(())
}

/// GD-9.
pub fn nothing_after_reset(lab: &mut Lab) -> Tested {
    let mut driver = lab.driver()?;
    // A stream has something to tell at any time.
    if let Ok(memory) = lab.survey.memory_for_frames() {
        let stream = Stream::open(lab, &mut driver, memory, 3)?;
        for index in 0..stream.count {
            stream.queue(&mut driver, index)?;
        }
        stream.start(&mut driver)?;
    } else {
        driver.open()?;
    }
    reset(&mut driver)?;
    let queues = [&driver.commands, &driver.events];
    for queue in queues {
        queue.take_call();
    }
    let used = queues.map(|queue| queue.used_index(&driver.memory));
    driver.submit(&command(CMD_OPEN), 16)?;
    kick(&driver);
    is_idle(lab, &driver, "nothing after the reset", used)
}

/// GD-12.
pub fn a_queue_elsewhere(lab: &mut Lab) -> Tested {
    let mut driver = lab.driver()?;
    driver.open()?;
    let connection = &driver.connection;
    connection.message("GET_VRING_BASE", |front| front.get_vring_base(0))?;
    let before = driver.commands.used();
    let event_idx = driver.features() & EVENT_IDX != 0;
    let queue = Queue::at(0, 2, event_idx, &mut driver.memory)?;
    let connection = &driver.connection;
    let place = queue.config(&driver.memory);
    connection.message("SET_VRING_NUM", |front| front.set_vring_num(0, SIZE))?;
    connection.message("SET_VRING_ADDR", |front| front.set_vring_addr(0, &place))?;
    connection.message("SET_VRING_BASE", |front| front.set_vring_base(0, 0))?;
    connection.message("SET_VRING_CALL", |front| {
        front.set_vring_call(0, &queue.call)
    })?;
    connection.message("SET_VRING_KICK", |front| {
        front.set_vring_kick(0, &queue.kick)
    })?;
    if driver.features() & PROTOCOL_FEATURES != 0 {
        connection.message("SET_VRING_ENABLE", |front| front.set_vring_enable(0, true))?;
    }
    driver.barrier()?;
    driver.commands = queue;
    let expected = "answers in the rings where they now are";
    for _ in 0..2 {
        driver.open().or_failed(expected)?;
    }
    let old = before..before + Queue::USED_BYTES;
    let untouched = driver.memory.check_range(old);
    untouched.map_err(|stray| failed("nothing more in the rings where they were", stray))
}
