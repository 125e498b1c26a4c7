//! A front end that behaves like QEMU's media device, `vhost-user-media-pci`
//! (hw/virtio/vhost-user-media.c, after 11.1): two queues of 128, shared memory
//! region 0 demanded, no ACCESS_PLATFORM, no RESET_DEVICE when the guest boots anew.

use pinhole::scripted::driver::front::{EVENT_IDX, INDIRECT_DESC, PROTOCOL_FEATURES, VERSION_1};
use pinhole::scripted::driver::queue;

use super::*;
use crate::harness::stream::pages;

const NOTIFY_ON_EMPTY: u64 = 1 << 24;
const RING_RESET: u64 = 1 << 40;

#[test]
fn qemus_media_device_carries_the_card() {
    assert_eq!(queue::SIZE, 128);
    let card = &mut Card::fast();
    let options = Options {
        features: PROTOCOL_FEATURES
            | VERSION_1
            | NOTIFY_ON_EMPTY
            | INDIRECT_DESC
            | EVENT_IDX
            | RING_RESET,
        ..options()
    };
    let driver = &mut Driver::attach(card, guest_memory(8 << 20), options);
    for _ in 0..2 {
        // The card's memory.
        let mapped = Mapped::new(driver, (NV12, 320, 240), 4, WRITE);
        mapped.start(driver);
        for _ in 0..8 {
            let (index, _) = mapped.next(driver, card);
            driver.qbuf_mmap(mapped.session, index).expect("QBUF");
        }
        driver.streamoff(mapped.session).expect("STREAMOFF");
        for (_, at) in &mapped.buffers {
            assert_eq!(driver.munmap(*at), Ok(()));
        }
        assert_eq!(driver.reqbufs(mapped.session, 0), Ok(0));
        driver.forget_events();

        // The guest's.
        let high = driver.memory.high().start;
        let lists = [high, high + (1 << 20)].map(|start| pages(start, mapped.sizeimage));
        driver.capture(card, mapped.session, &lists);

        // The guest boots anew in the middle of a stream.
        assert_eq!(driver.reqbufs(mapped.session, 2), Ok(2));
        for (index, list) in (0..).zip(&lists) {
            driver.qbuf(mapped.session, index, list).expect("QBUF");
        }
        driver.streamon(mapped.session).expect("STREAMON");
        driver.stop_rings();
        driver.restart();
    }
}
