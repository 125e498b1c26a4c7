//! Formats, sizes, rates and inputs, as an application negotiates them.

use vhost::vhost_user::VhostUserFrontend;
use vhost::vhost_user::message::VhostUserConfigFlags;

use crate::harness::v4l2::*;
use crate::harness::{Card, Chains, Driver, Options, guest_memory};

#[test]
fn the_configuration_space_describes_a_capture_device() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let mut read = |offset: u32, len: u32| {
        let flags = VhostUserConfigFlags::empty();
        let (_, bytes) = driver
            .front
            .get_config(offset, len, flags, &vec![0; len as usize])
            .expect("GET_CONFIG");
        bytes
    };
    let config = read(0, 40);
    let caps = config.le32(0);
    // VIDEO_CAPTURE and STREAMING; not multi-planar, no output.
    assert_eq!(caps & 0x0400_0001, 0x0400_0001, "{caps:#x}");
    assert_eq!(caps & 0x0000_f002, 0, "{caps:#x}");
    assert_eq!(config.le32(4), 0, "VFL_TYPE_VIDEO");
    assert!(config.text(8, 32).to_lowercase().contains("pinhole"));
    assert_eq!(read(8, 4), config[8..12]);
}

#[test]
fn commands_are_understood_however_their_chain_is_cut() {
    for chains in [Chains::Plain, Chains::Split, Chains::Indirect] {
        for event_idx in [true, false] {
            let card = &mut Card::fast();
            let options = Options {
                chains,
                event_idx,
                ..Options::default()
            };
            let driver = &mut Driver::attach(card, guest_memory(1 << 20), options);
            let session = driver.open();
            for (number, Raw { fourcc, .. }) in (0..).zip(RAW) {
                let ask = payload(ENUM_FMT).with(0, number).with(4, CAPTURE);
                let found = driver.ioctl(session, ENUM_FMT, &ask).expect("ENUM_FMT");
                assert_eq!(found.le32(44), fourcc, "{chains:?} {event_idx}");
                driver.set_picture(session, fourcc, 96, 64);
                driver.capture_one(card, session);
            }
            driver.close(session);
        }
    }
}

#[test]
fn enum_fmt_lists_the_formats() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let session = driver.open();
    let ask = |index, kind| payload(ENUM_FMT).with(0, index).with(4, kind);
    for (index, Raw { fourcc, name, .. }) in (0..).zip(RAW) {
        let found = driver
            .ioctl(session, ENUM_FMT, &ask(index, CAPTURE))
            .unwrap();
        assert_eq!(found.le32(0), index);
        assert_eq!(found.le32(4), CAPTURE);
        assert_eq!(found.le32(8), 0, "neither compressed nor emulated");
        assert_eq!(found.text(12, 32), name);
        assert_eq!(found.le32(44), fourcc);
    }
    let jpeg = RAW.len() as u32;
    let found = driver.ioctl(session, ENUM_FMT, &ask(jpeg, CAPTURE));
    let found = found.unwrap();
    assert_eq!(found.le32(8), 1, "V4L2_FMT_FLAG_COMPRESSED");
    assert_eq!(found.text(12, 32), "Motion-JPEG");
    assert_eq!(found.le32(44), u32::from_le_bytes(*b"MJPG"));
    for (index, kind) in [
        (jpeg + 1, CAPTURE),
        (u32::MAX, CAPTURE),
        (0, OUTPUT),
        (0, CAPTURE_MPLANE),
        (0, 0),
    ] {
        let answer = driver.ioctl(session, ENUM_FMT, &ask(index, kind));
        assert_eq!(answer, Err(EINVAL), "{index} of type {kind}");
    }
}

#[test]
fn every_format_has_the_strides_and_sizes_of_v4l2() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let session = driver.open();
    for format in RAW {
        let smallest = (
            17u32.next_multiple_of(format.step.0),
            19u32.next_multiple_of(format.step.1),
        );
        for (width, height) in [smallest, (640, 480), (1918, 1078), (3840, 2160)] {
            let picture = driver.set_picture(session, format.fourcc, width, height);
            assert_eq!(picture.bytesperline, width * format.line);
            assert_eq!(picture.sizeimage, width * height * format.bits / 8);
            assert_eq!(picture.field, FIELD_NONE);
            assert_ne!(picture.colorspace, 0, "a capture device states it");
            assert_eq!(driver.picture(session), picture);
        }
    }
}

#[test]
fn a_size_that_the_card_has_not_becomes_the_nearest() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let session = driver.open();
    for Raw {
        fourcc, step, bits, ..
    } in RAW
    {
        let odd = |at: u32, step: u32| at.next_multiple_of(step);
        for (wanted, got) in [
            ((0, 0), (16, 16)),
            ((17, 19), (odd(17, step.0), odd(19, step.1))),
            ((4000, 100), (3840, 100)),
            ((u32::MAX, u32::MAX), (3840, 2160)),
        ] {
            for ioctl in [TRY_FMT, S_FMT] {
                let wanted = format(fourcc, wanted.0, wanted.1);
                let answer = driver.ioctl(session, ioctl, &wanted).unwrap();
                let picture = Picture::parse(&answer);
                assert_eq!((picture.width, picture.height), got);
                assert_eq!(picture.sizeimage, got.0 * got.1 * bits / 8);
            }
        }
    }
}

#[test]
fn a_format_that_the_card_has_not_becomes_one_that_it_has() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let session = driver.open();
    for pixelformat in [0, u32::from_le_bytes(*b"H264"), u32::MAX] {
        for ioctl in [TRY_FMT, S_FMT] {
            let wanted = format(pixelformat, 320, 240).with(20, 4);
            let answer = driver.ioctl(session, ioctl, &wanted).unwrap();
            let picture = Picture::parse(&answer);
            assert_eq!(picture.pixelformat, YUYV);
            assert_eq!(picture.field, FIELD_NONE, "interlaced was asked for");
            assert_eq!(picture.sizeimage, 320 * 240 * 2);
        }
    }
}

#[test]
fn try_fmt_changes_nothing() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let session = driver.open();
    let before = driver.set_picture(session, NV12, 320, 240);
    let wanted = format(GREY, 64, 64);
    driver.ioctl(session, TRY_FMT, &wanted).unwrap();
    assert_eq!(driver.picture(session), before);
}

#[test]
fn a_format_for_another_direction_is_refused() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let session = driver.open();
    for ioctl in [G_FMT, S_FMT, TRY_FMT, G_PARM, S_PARM] {
        for kind in [0, OUTPUT, CAPTURE_MPLANE, 3, 12, u32::MAX] {
            let wanted = payload(ioctl).with(0, kind);
            let answer = driver.ioctl(session, ioctl, &wanted);
            assert_eq!(answer, Err(EINVAL), "{ioctl:?} of type {kind}");
        }
    }
}

#[test]
fn the_format_may_be_set_again_while_there_are_no_buffers() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let session = driver.open();
    driver.set_picture(session, YUYV, 320, 240);
    driver.reqbufs(session, 3).unwrap();
    let wanted = format(GREY, 64, 64);
    assert_eq!(driver.ioctl(session, S_FMT, &wanted), Err(EBUSY));
    assert!(driver.ioctl(session, TRY_FMT, &wanted).is_ok());
    driver.reqbufs(session, 0).unwrap();
    driver.set_picture(session, GREY, 64, 64);
}

#[test]
fn enum_framesizes_gives_one_range_for_each_format() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let session = driver.open();
    let ask = |index, pixelformat| payload(ENUM_FRAMESIZES).with(0, index).with(4, pixelformat);
    for Raw { fourcc, step, .. } in RAW {
        let found = driver
            .ioctl(session, ENUM_FRAMESIZES, &ask(0, fourcc))
            .unwrap();
        let range: Vec<_> = (12..36).step_by(4).map(|at| found.le32(at)).collect();
        assert_eq!(found.le32(8), 3, "stepwise");
        assert_eq!(range, [16, 3840, step.0, 16, 2160, step.1]);
        let next = driver.ioctl(session, ENUM_FRAMESIZES, &ask(1, fourcc));
        assert_eq!(next, Err(EINVAL));
    }
    let unknown = driver.ioctl(session, ENUM_FRAMESIZES, &ask(0, 0x1234));
    assert_eq!(unknown, Err(EINVAL));
}

#[test]
fn enum_frameintervals_gives_one_range_for_each_size() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let session = driver.open();
    let ask = |index, pixelformat, width, height| {
        payload(ENUM_FRAMEINTERVALS)
            .with(0, index)
            .with(4, pixelformat)
            .with(8, width)
            .with(12, height)
    };
    for Raw { fourcc, .. } in RAW {
        for (width, height) in [(16, 16), (1280, 720), (3840, 2160)] {
            let ask = ask(0, fourcc, width, height);
            let found = driver.ioctl(session, ENUM_FRAMEINTERVALS, &ask).unwrap();
            assert!([2, 3].contains(&found.le32(16)), "a range");
            let range: Vec<_> = (20..36).step_by(4).map(|at| found.le32(at)).collect();
            assert_eq!(range, [1, 240, 1, 1], "from 1/240 to 1/1 second");
        }
    }
    for wrong in [
        ask(1, YUYV, 640, 480),
        ask(0, 0x1234, 640, 480),
        ask(0, YUYV, 17, 480),
        ask(0, YUYV, 640, 4000),
        ask(0, YUYV, 0, 0),
    ] {
        let answer = driver.ioctl(session, ENUM_FRAMEINTERVALS, &wrong);
        assert_eq!(answer, Err(EINVAL));
    }
}

#[test]
fn the_rate_is_what_was_set_within_its_bounds() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let session = driver.open();
    let frame_rate = |(numerator, denominator): (u32, u32)| {
        assert_ne!(numerator, 0);
        f64::from(denominator) / f64::from(numerator)
    };
    for (wanted, got) in [
        (1, 1.0),
        (25, 25.0),
        (60, 60.0),
        (240, 240.0),
        (1000, 240.0),
    ] {
        let set = driver.set_rate(session, wanted);
        assert_eq!(frame_rate(set), got);
        let ask = payload(G_PARM).with(0, CAPTURE);
        let parm = driver.ioctl(session, G_PARM, &ask).unwrap();
        assert_eq!((parm.le32(12), parm.le32(16)), set);
        assert_eq!(parm.le32(4) & CAP_TIMEPERFRAME, CAP_TIMEPERFRAME);
    }
    let parm = |numerator, denominator| {
        payload(S_PARM)
            .with(0, CAPTURE)
            .with(12, numerator)
            .with(16, denominator)
    };
    // A fraction of huge terms, one slower than the slowest, and none at all,
    // which means the default.
    for (numerator, denominator, low, high) in [
        (u32::MAX, u32::MAX, 1.0, 1.0),
        (1001, 30000, 29.97, 29.98),
        (u32::MAX, 1, 1.0, 1.0),
        (1, u32::MAX, 240.0, 240.0),
        (0, 0, 1.0, 240.0),
        (0, 1, 1.0, 240.0),
        (1, 0, 1.0, 240.0),
    ] {
        let set = driver
            .ioctl(session, S_PARM, &parm(numerator, denominator))
            .unwrap();
        let rate = frame_rate((set.le32(12), set.le32(16)));
        assert!(
            (low..=high).contains(&rate),
            "{numerator}/{denominator} became {rate} frames a second"
        );
    }
}

#[test]
fn there_are_two_inputs_and_the_first_is_selected() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let session = driver.open();
    let mut names = Vec::new();
    for index in [0, 1] {
        let ask = payload(ENUMINPUT).with(0, index);
        let input = driver.ioctl(session, ENUMINPUT, &ask).unwrap();
        assert_eq!(input.le32(0), index);
        names.push(input.text(4, 32));
        assert_eq!(input.le32(36), 2, "V4L2_INPUT_TYPE_CAMERA");
        assert_eq!(input.le64(48), 0, "no analogue standard");
        assert_eq!(input.le32(56), 0, "no fault");
    }
    assert_ne!(names[0], names[1]);

    let selected = |driver: &mut Driver| driver.ioctl(session, G_INPUT, &[]).unwrap().le32(0);
    assert_eq!(selected(driver), 0);
    for index in [1, 0] {
        let ask = payload(S_INPUT).with(0, index);
        assert_eq!(driver.ioctl(session, S_INPUT, &ask), Ok(ask));
        assert_eq!(selected(driver), index);
    }
    for wrong in [2, 3, u32::MAX] {
        let ask = payload(ENUMINPUT).with(0, wrong);
        assert_eq!(driver.ioctl(session, ENUMINPUT, &ask), Err(EINVAL));
        let ask = payload(S_INPUT).with(0, wrong);
        assert_eq!(driver.ioctl(session, S_INPUT, &ask), Err(EINVAL));
    }
}

#[test]
fn every_other_ioctl_and_command_is_unknown() {
    let card = &mut Card::start(&[]);
    let driver = &mut Driver::new(card);
    let session = driver.open();
    let known = ALL.map(|ioctl| ioctl.code);
    for code in (0..256).chain([256, 0x5604, 0xc0d0_5604, u32::MAX]) {
        if known.contains(&code) {
            continue;
        }
        let command = ioctl_command(session, code, &[0; 256]);
        let reply = driver.command(&command, RESPONSE + 256);
        assert_eq!(reply.status(), Some(ENOTTY), "ioctl {code}");
    }
    for cmd in [0, CMD_MMAP, CMD_MUNMAP, 6, 0x100, 0x0100_0001, u32::MAX] {
        let mut command = command(cmd);
        command.extend([0; 32]);
        let reply = driver.command(&command, 32);
        assert_eq!(reply.status(), Some(ENOTTY), "command {cmd}");
    }
}
