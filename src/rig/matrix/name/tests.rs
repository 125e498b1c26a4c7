//! Tests of the names of cells.

use super::*;

#[test]
fn names_read_back_and_leave_out_what_is_usual() {
    let plain = CellName::plain(Kind::AnonTouched);
    assert_eq!(plain.to_string(), "anon-touched");
    let cells = [
        plain,
        CellName {
            offset: 64,
            ..plain
        },
        CellName { tail: 16, ..plain },
        CellName {
            offset: 1,
            tail: 100,
            point: Point::BeforeDma,
            pinning: Pinning::Sg,
            ..plain
        },
    ];
    for cell in cells {
        assert_eq!(cell.to_string().parse(), Ok(cell));
    }
    assert_eq!(cells[3].to_string(), "anon-touched@1+100/sg");
    for pinning in Pinning::MODELS {
        let cell = CellName { pinning, ..plain };
        assert_eq!(cell.to_string(), format!("anon-touched/{pinning}"));
        assert_eq!(cell.to_string().parse(), Ok(cell));
    }
    let of_old = "anon-touched@1+100/native";
    assert_eq!(of_old.parse(), Ok(cells[3]));
    let failing = CellName {
        hazard: Hazard::FailNth,
        point: Point::Qbuf,
        ..plain
    };
    assert_eq!(failing.to_string(), "anon-touched/fail-nth:qbuf");
    assert_eq!(failing.to_string().parse(), Ok(failing));
    for cell in cells.into_iter().chain([failing]) {
        let output = cell.of_output();
        assert_eq!(output.to_string(), format!("output/{cell}"));
        assert_eq!(output.to_string().parse(), Ok(output));
        assert!(cell < output);
    }
    let turned = cells[2].of_m2m(Ends::Turned);
    assert_eq!(turned.to_string(), "m2m/turned/anon-touched+16");
    for cell in cells {
        for ends in Ends::ALL {
            let both = cell.of_m2m(*ends);
            assert_eq!(both.to_string().parse(), Ok(both));
            assert!(cell.of_output() < both);
        }
    }
}

#[test]
fn a_schedule_stands_in_the_place_of_the_point() {
    for (name, alone) in [
        ("anon-touched/munmap:qQ!dDrRxX", "anon-touched/munmap"),
        (
            "anon-touched/munmap:qQdDr!RxX",
            "anon-touched/munmap:after-dma",
        ),
        ("anon-touched@64/munmap:qdrx!QDRX/sg", "anon-touched@64/sg"),
        ("output/heap/ksm:q!QdDrRxX", "output/heap/ksm"),
    ] {
        let cell: CellName = name.parse().unwrap();
        assert_eq!(cell.to_string(), name);
        assert_eq!(cell.first_alone().to_string(), alone);
        assert_eq!(cell.second_alone().hazard, Hazard::None);
        assert_eq!(cell.second_alone().schedule, None);
        assert_eq!(cell.ends().len(), 2);
        assert_eq!(cell.request(1).schedule, cell.schedule);
    }
    let plain = CellName::plain(Kind::Heap);
    assert_eq!((plain.first_alone(), plain.ends().len()), (plain, 1));
}

#[test]
fn what_names_no_cell_is_refused() {
    const DMABUF: &str = "a dma-buf is given from its first byte on and pinned by nobody: \
                          dmabuf-own has no @OFFSET and no /MODEL, and is not one mapping with \
                          two buffers";
    const DURING_PIN: &str = "during-pin is for the driver's own pin of anon-touched, heap, \
                              memfd-shared, and for one buffer";
    for (text, message) in [
        ("", "the matrix has no kind \"\""),
        ("dragon", "the matrix has no kind \"dragon\""),
        ("hole/dragon", "the matrix has no hazard \"dragon\""),
        ("hole/none:never", "the matrix has no point \"never\""),
        (
            "heap/munmap:qbuf",
            "munmap comes at one of these points only: before-dma, after-dma, during-pin",
        ),
        ("thp/munmap:during-pin", DURING_PIN),
        ("heap/munmap:during-pin/sg", DURING_PIN),
        ("m2m/read/heap/munmap:during-pin", DURING_PIN),
        (
            "heap/memfd-punch",
            "memfd-punch cannot happen to heap: `pinhole matrix --list` shows what it \
             happens to",
        ),
        ("dmabuf-own@64", DMABUF),
        ("dmabuf-own/contig", DMABUF),
        ("m2m/adjacent/dmabuf-own", DMABUF),
        (
            "heap/munmap:qQdD!rRx",
            "\"qQdD!rRx\" is no schedule, such as qQ!dDrRxX: X is missing",
        ),
        (
            "heap/close:qQ!dDrRxX",
            "close has no schedules here: it ends the stream, and the steps with it",
        ),
        (
            "heap/none:qQ!dDrRxX",
            "none has no schedules here: a schedule is about a hazard, and there is none",
        ),
        (
            "heap/fail-nth:qQ!dDrRxX",
            "fail-nth has no schedules here: it is to a call, and not to the memory",
        ),
        (
            "m2m/read/heap/munmap:qQ!dDrRxX",
            "munmap has no schedules here: the buffers of a mem-to-mem card are of two queues",
        ),
        (
            "dmabuf-own/munmap:qQ!dDrRxX",
            "munmap has no schedules here: a dma-buf is pinned by nobody",
        ),
        ("hole@4096", "4096 is no number of bytes from 0 to 4095"),
        ("hole+-1", "-1 is no number of bytes from 0 to 4095"),
        (
            "hole/none/x",
            "\"x\" is not part of a cell's name, which is KIND@OFFSET+TAIL/HAZARD:POINT/MODEL, \
             or output/ and that, or m2m/ENDS/ and that",
        ),
        ("hole/frames", "the matrix has no hazard \"frames\""),
        (
            "hole/sg/contig",
            "\"contig\" is not part of a cell's name, which is \
          KIND@OFFSET+TAIL/HAZARD:POINT/MODEL, or output/ and that, or m2m/ENDS/ and that",
        ),
        ("output", "the matrix has no kind \"output\""),
        ("output/", "the matrix has no kind \"\""),
        ("output/output/hole", "the matrix has no kind \"output\""),
        ("capture/hole", "the matrix has no kind \"capture\""),
        ("outputs/hole", "the matrix has no kind \"outputs\""),
        ("m2m", "the matrix has no kind \"m2m\""),
        ("m2m/hole", "the matrix has no ends \"hole\""),
        ("m2m/read", "the matrix has no kind \"\""),
        ("m2m/read/output/hole", "the matrix has no kind \"output\""),
        (
            "m2m/read/heap/mmap-contention",
            "a mem-to-mem card has no cells of mmap-contention",
        ),
    ] {
        let error = text.parse::<CellName>().unwrap_err().to_string();
        let (error, _) = error.split_once("; `").unwrap_or((&error, ""));
        assert_eq!(error, message, "{text}");
    }
    for text in ["heap/fail-nth", "heap/fail-nth:before-dma"] {
        let error = text.parse::<CellName>().unwrap_err().to_string();
        let begins = "fail-nth comes at one of these points only: open, ";
        assert!(error.starts_with(begins), "{error}");
    }
}
