/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The event queue.
 */
#ifndef PINHOLE_EVENTQ_H
#define PINHOLE_EVENTQ_H

#include <linux/workqueue.h>

#include "transport.h"

/*
 * Events that the device can have under way; a queue of 32 buffers needs 32. An
 * interrupt handles no more than these.
 */
#define PINHOLE_MAX_EVENTS 64

/**
 * struct pinhole_events - the event queue
 * @ring: its virtqueue; its lock guards what follows
 * @bufs: event buffers, all of them in the virtqueue but for the one in hand
 * @num: number of @bufs
 * @event: the event in hand, out of the device's reach
 * @ignored: number of events that were ignored
 * @work: handles what is too much for one interrupt
 */
struct pinhole_events {
	struct pinhole_ring ring;
	struct virtio_media_event_dqbuf *bufs[PINHOLE_MAX_EVENTS];
	unsigned int num;
	struct virtio_media_event_dqbuf event;
	unsigned long ignored;
	struct work_struct work;
};

void pinhole_events_init(struct pinhole_device *dev);
int pinhole_events_open(struct pinhole_device *dev, struct virtqueue *vq);
void pinhole_events_detach(struct pinhole_device *dev);
void pinhole_events_cb(struct virtqueue *vq);
void pinhole_events_drain(struct pinhole_device *dev);
void pinhole_event_ignore(struct pinhole_device *dev, u32 event,
			  u32 session_id, u32 used);

#endif /* PINHOLE_EVENTQ_H */
