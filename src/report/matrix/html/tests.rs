use super::super::tests::{judged, kernel};
use super::*;
use crate::agent::cell::answer::BufferSeen;
use crate::agent::cell::evidence::{InjectedSeen, ReturnSeen, StepSeen, TouchedSeen};
use crate::rig::matrix::outcome::Device;
use crate::rig::matrix::witness::CardFrames;
use crate::wire::buffer::BUF_FLAG_ERROR;

#[test]
fn what_a_guest_wrote_is_escaped_wherever_it_stands() {
    let evil = "\"><script>alert(1)</script><img src=x onerror=alert(1)>'&";
    let mut hostile = kernel("trixie");
    hostile.kernel = evil.into();
    hostile.release = evil.into();
    hostile.cells[1].reason = Some(evil.into());
    hostile.cells[2].reason = Some(evil.into());
    let cell = &mut hostile.cells[3];
    cell.findings[0].what = evil.into();
    let answer = cell.answer.as_mut().unwrap();
    answer.failed = Some(evil.into());
    answer.notes = vec![evil.into()];
    answer.log[0].text = evil.into();
    let counted = answer.counters.iter_mut().zip(1..);
    for (seen, value) in counted {
        seen.values.insert(evil.into(), value);
    }
    answer.calls.push(crate::agent::cell::evidence::CallSeen {
        name: evil.into(),
        errno: None,
        at_us: 1,
        took_us: 1,
        queue: 0,
    });
    hostile.mutants[1].reason = Some(evil.into());
    let page = page(&[hostile]);
    assert!(!page.contains("<script"), "{page}");
    assert!(!page.contains("<img"));
    assert!(
        page.matches("&lt;script&gt;alert(1)&lt;/script&gt;")
            .count()
            > 12
    );
    // Quotes are escaped too, because the text stands in attributes.
    assert!(!page.contains("\"&gt;&lt;script"));
}

#[test]
fn a_finding_is_told_shown_and_open() {
    let page = page(&[kernel("trixie"), kernel("bookworm")]);
    for part in [
        "✗ 2 with findings",
        "<span class=\"bad\">memory-written</span></td><td title=\"the bytes around",
        "<summary>5 bytes after the buffer have changed</summary>",
        "<td>munmap 2</td>",
        "<span class=\"bad\">✗ data-lost, data</span>",
        "<a class=\"n\" href=\"#trixie:thp/munmap\">thp/munmap</a> on trixie: 5 bytes after the buffer",
        "<details class=\"red\" open><summary><span class=\"bad\">✗ part of the data</span> <small>trixie</small>",
        "id=\"trixie:thp/munmap\"",
        "pinhole matrix --kernel trixie --cell thp/munmap",
        "1 of 2 blocks read as written, the first that is not at byte 4096",
        "bytes beside it were changed",
        "block 1: the process reads <span class=\"n\">0000000000000007</span>, the card wrote <span class=\"n\">0000000000000002</span>",
        "◆ EFAULT",
        "<li id=\"reason-1\">a page of the range is not mapped</li>",
        "pinned pages, more than before the cell; the buffer has 3",
        "✓ caught</span> <small>pins</small>",
        "pgmigrate_success 100 103 103",
        "– impossible",
        "mapped, queued</dt><dd>1 by the DMA API: <span class=\"n\">0x34d2+6958 </span> DMA_FROM_DEVICE",
        "written or read by the card: 2 of 2 (1 are not tracked)",
        "192 bytes, allocated by &lt;agent&gt; (process 88), again when the cell was run once more<pre>pinhole_cmd_alloc",
        "– nothing to say, or not of all: no DEBUG_KMEMLEAK",
        "✗ 1 found",
        "Nothing was seen: the guest did not answer.",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn failures_are_counted_by_what_they_came_to_and_where() {
    let mut kernel = kernel("trixie");
    let seen = |nth, errno, function: &str| InjectedSeen {
        nth,
        errno,
        stack: vec!["should_failslab".into(), function.into()],
        ..InjectedSeen::default()
    };
    kernel.cells[3].answer.as_mut().unwrap().injected = vec![
        seen(1, Some(libc::EFAULT), "video_usercopy"),
        seen(2, Some(libc::ENOMEM), "f<b>"),
        seen(3, Some(libc::ENOMEM), "f<b>"),
        seen(5, Some(libc::ENOMEM), "f<b>"),
        InjectedSeen {
            aftermath: vec!["<i>no frame</i>".into()],
            ..seen(6, None, "kmalloc")
        },
    ];
    let page = page(&[kernel]);
    for part in [
        "7 failures injected into calls",
        "5 were injected into the call",
        "<b>EFAULT</b> from <span class=\"n\">video_usercopy</span>: 1<br>",
        "<b>ENOMEM</b> from <span class=\"n\">f&lt;b&gt;</span>: 2-3, 5<br>",
        "no error from <span class=\"n\">where the kernel does not say</span>: 6<br>",
        "<dt>after 6</dt><dd>&lt;i&gt;no frame&lt;/i&gt;</dd>",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn evidence_that_makes_no_sense_is_shown_all_the_same() {
    let mut wild = kernel("trixie");
    wild.elapsed_ms = u64::MAX;
    let answer = wild.cells[3].answer.as_mut().unwrap();
    let memory = answer.memory.as_mut().unwrap();
    (memory.address, memory.length) = (u64::MAX, u64::MAX);
    for look in &mut answer.pages {
        look.flags = vec![u64::MAX; 3000];
        look.count = vec![];
        look.pagemap = vec![u64::MAX];
    }
    for (seen, value) in answer.counters.iter_mut().zip([0, u64::MAX, 7]) {
        for counter in seen.values.values_mut() {
            *counter = value;
        }
        seen.values
            .insert("nr_foll_pin_released".into(), u64::MAX - value);
    }
    answer.frames[0].digests.clear();
    let text = page(&[
        wild,
        KernelOutcome {
            cells: Vec::new(),
            stopped: Some("the <guest> is gone".into()),
            ..kernel("empty")
        },
    ]);
    assert!(text.contains("· not run"));
    assert!(text.contains("stopped: the &lt;guest&gt; is gone"));
    assert!(page(&[]).contains("</html>"));
}

#[test]
fn what_there_is_not_is_not_spoken_of() {
    let whole = page(&[kernel("trixie")]);
    assert!(whole.contains("<h2>Reasons</h2>"));
    assert!(
        whole.contains("<span class=\"soft\">· not run</span></div>"),
        "no legend"
    );
    assert!(whole.contains("<code>ksm</code> of every anonymous page"));
    let mut plain = kernel("bookworm");
    plain.release = "6.1.0-40-amd64".into();
    plain.cells.truncate(1);
    plain.mutants.clear();
    plain.boots = 1;
    let page = page(&[plain]);
    assert!(page.contains("1 cell, "), "{page}");
    assert!(page.contains("; 1 boot, "), "{page}");
    for absent in ["Reasons", "<code>ksm</code>", "mutant"] {
        assert!(!page.contains(absent), "{absent}");
    }
}

#[test]
fn a_device_without_a_witness_is_shown_by_what_the_process_saw() {
    let mut kernel = KernelOutcome {
        device: Some(judged()),
        ..kernel("trixie")
    };
    let cell = &mut kernel.cells[3];
    let answer = cell.answer.as_mut().unwrap();
    answer.frames[0].touched = Some(TouchedSeen {
        left: vec![(4096, 64)],
        left_bytes: 80,
        beyond: vec![(8190, 2)],
        beyond_bytes: 2,
        ..TouchedSeen::default()
    });
    answer.returns = vec![ReturnSeen {
        index: 1,
        sequence: 7,
        flags: BUF_FLAG_ERROR,
        bytesused: 8190,
        timestamp_us: 99,
    }];
    cell.card_frames = CardFrames::without_witness(crate::agent::cell::Flow::Capture, answer, None);
    let guest = page(std::slice::from_ref(&kernel));
    for part in [
        "<b>A &lt;b&gt;camera (usb-1), driver cam 6.12.1</b>",
        "Not asked, or not for all: address (nobody tells), ",
        "it moves",
        "– nothing to say, or not of all: nobody tells",
        "pinhole judge --kernel trixie --module cam --module-args &quot;a=1 b=2&quot; /dev/video2 \
         --cell thp/munmap",
        "a=1 b=2&quot; /dev/video2 --mutant leak-pin",
        "80 of 8192 bytes are as they were</span>:<span class=\"n\"> 4096+64</span>",
        "2 bytes behind them have changed</span>:<span class=\"n\"> 8190+2</span>",
        "buffer 1 with frame 7 <b>in error</b> (8190 bytes, 99 us)",
        "page frames of the card: none to compare",
    ] {
        assert!(guest.contains(part), "{part}");
    }
    assert!(!guest.contains("<dt>the card</dt>"), "{guest}");
    kernel.kernel = "here".into();
    kernel.device = Some(Device {
        node: "/dev/video0".into(),
        module: None,
        ..judged()
    });
    let here = page(std::slice::from_ref(&kernel));
    assert!(here.contains("<code>pinhole judge --cell thp/munmap</code>"));
    kernel.kernel = "trixie".into();
    kernel.device = Some(Device {
        node: "/dev/video0".into(),
        usb_camera: true,
        ..judged()
    });
    let camera = "judge --kernel trixie --usb-camera --module cam --module-args";
    assert!(page(&[kernel]).contains(camera));
}

#[test]
fn every_buffer_of_a_cell_is_shown() {
    let mut kernel = kernel("trixie");
    let cell = &mut kernel.cells[3];
    cell.cell = "m2m/written/thp/munmap".parse().unwrap();
    let answer = cell.answer.as_mut().unwrap();
    answer.further.push(BufferSeen {
        memory: answer.memory,
        pages: answer.pages.clone(),
        ..BufferSeen::default()
    });
    let page = page(&[kernel]);
    for part in [
        "<dt>of</dt><dd><b>CAPTURE</b></dd>",
        "<dt>of</dt><dd><b>OUTPUT</b></dd>",
        "<p class=\"soft\">OUTPUT</p><figure>",
        "the buffers have 6</figcaption>",
        "<dt>buffers</dt><dd>the card writes to memory of that kind",
    ] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn the_steps_of_a_schedule_are_shown_as_they_were_made() {
    let mut scheduled = kernel("trixie");
    let cell = &mut scheduled.cells[3];
    cell.cell = "thp/munmap:qQ!dDrRxX".parse().unwrap();
    let order = cell.cell.schedule.unwrap();
    let answer = cell.answer.as_mut().unwrap();
    answer.steps = order
        .course()
        .zip(1..)
        .map(|(step, at)| StepSeen {
            step,
            at_us: at * 1000,
            flags: [0; 2],
            pinned: None,
        })
        .collect();
    answer.steps.truncate(3);
    let page = page(&[scheduled]);
    for part in [
        "<dd>qQ!dDrRxX: QBUF (q), DMA (d)",
        "1.0 <b>q</b>, 2.0 <b>Q</b>, 3.0 <b>!</b> (ms)",
        "<b>the first buffer</b>",
        "<b>the second buffer</b>",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("the buffer is queued and the card has not written"));
}
