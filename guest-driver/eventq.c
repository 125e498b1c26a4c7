// SPDX-License-Identifier: GPL-2.0
/*
 * The event queue.
 *
 * Nothing in an event is taken on trust. What lies about a buffer ends the
 * stream, not the kernel; any other event that is late, unknown or malformed
 * does no harm, and is ignored and counted.
 */
#include <linux/slab.h>

#include "pinhole.h"
#include "trace.h"

/**
 * pinhole_event_ignore() - ignore an event
 * @dev: device
 * @event: VIRTIO_MEDIA_EVT_*, or what the device said instead
 * @session_id: session that the device said it is for
 * @used: number of bytes that the device says it wrote
 *
 * Context: Any; the event ring's lock is held.
 */
void pinhole_event_ignore(struct pinhole_device *dev, u32 event,
			  u32 session_id, u32 used)
{
	lockdep_assert_held(&dev->events.ring.lock);
	WRITE_ONCE(dev->events.ignored, dev->events.ignored + 1);
	trace_pinhole_ignored(event, session_id, used);
}

/* Gives the device an event buffer. */
static int pinhole_event_offer(struct pinhole_events *events,
			       struct virtio_media_event_dqbuf *buf)
{
	struct scatterlist sg;

	lockdep_assert_held(&events->ring.lock);
	sg_init_one(&sg, buf, sizeof(*buf));
	return virtqueue_add_inbuf(events->ring.vq, &sg, 1, buf, GFP_ATOMIC);
}

/* An event buffer does not get to the device: no stream hears of its buffers. */
static void pinhole_events_broken(struct pinhole_device *dev)
{
	struct pinhole_context *ctx;

	rcu_read_lock();
	pinhole_for_each_context(ctx, dev)
		dev->up->fail(ctx, "broke the event queue");
	rcu_read_unlock();
}

/* Passes the event in hand to whom it concerns. */
static void pinhole_event_handle(struct pinhole_device *dev, u32 used)
{
	const struct virtio_media_event_dqbuf *event = &dev->events.event;
	u32 type = le32_to_cpu(event->hdr.event);
	u32 session_id = le32_to_cpu(event->hdr.session_id);
	bool known = false;

	switch (type) {
	case VIRTIO_MEDIA_EVT_ERROR:
		known = dev->up->lost(dev, session_id);
		break;
	case VIRTIO_MEDIA_EVT_DQBUF:
		known = dev->up->dqbuf(dev, session_id, event, used);
		break;
	case VIRTIO_MEDIA_EVT_EVENT:
		known = used >= sizeof(struct virtio_media_event_event) &&
			dev->up->event(dev, session_id, (const void *)event);
		break;
	}
	if (!known)
		pinhole_event_ignore(dev, type, session_id, used);
}

/*
 * Handles up to @max events that have arrived, and says how many there were. An
 * event is copied before anything in it is looked at: its buffer is the device's
 * to write to, and goes back to it at once.
 */
static unsigned int pinhole_events_handle(struct pinhole_device *dev,
					  unsigned int max)
{
	struct pinhole_events *events = &dev->events;
	struct virtio_media_event_dqbuf *buf;
	unsigned int count = 0, used;
	bool whole;

	lockdep_assert_held(&events->ring.lock);
	while (count < max && (buf = virtqueue_get_buf(events->ring.vq, &used))) {
		count++;
		whole = used >= sizeof(buf->hdr) && used <= sizeof(*buf);
		if (whole)
			memcpy(&events->event, buf, used);
		barrier();
		if (pinhole_event_offer(events, buf))
			pinhole_events_broken(dev);
		if (whole)
			pinhole_event_handle(dev, used);
		else
			pinhole_event_ignore(dev, U32_MAX, 0, used);
	}
	if (count)
		WRITE_ONCE(dev->commands.heard, jiffies);
	return count;
}

/*
 * Handles what has arrived, PINHOLE_MAX_EVENTS at most: a device that fills each
 * buffer as soon as it gets it would keep the processor for ever. The rest is
 * for the work item, with the interrupt left off until it has caught up.
 */
static void pinhole_events_take(struct pinhole_device *dev)
{
	struct pinhole_events *events = &dev->events;
	unsigned int left = PINHOLE_MAX_EVENTS;
	unsigned long flags;

	spin_lock_irqsave(&events->ring.lock, flags);
	if (events->ring.vq && !pinhole_fault(dev)) {
		do {
			virtqueue_disable_cb(events->ring.vq);
			left -= pinhole_events_handle(dev, left);
		} while (left && !virtqueue_enable_cb(events->ring.vq));
		if (!left)
			queue_work(system_highpri_wq, &events->work);
	}
	pinhole_ring_unlock(&events->ring, flags, left < PINHOLE_MAX_EVENTS);
	dev->up->done(dev);
}

/* Interrupt of the event queue. */
void pinhole_events_cb(struct virtqueue *vq)
{
	pinhole_events_take(vq->vdev->priv);
}

static void pinhole_events_work(struct work_struct *work)
{
	pinhole_events_take(container_of(work, struct pinhole_device,
					 events.work));
}

/**
 * pinhole_events_drain() - handle the events of a stream that has ended
 * @dev: device
 *
 * The interrupt for an event may come later than the one for the response to a
 * command that the device sent after it. Without this, the event of a buffer of
 * the last stream could be taken for one of the next. There are no more of these
 * than event buffers.
 */
void pinhole_events_drain(struct pinhole_device *dev)
{
	struct pinhole_events *events = &dev->events;
	unsigned int count = 0;
	unsigned long flags;

	spin_lock_irqsave(&events->ring.lock, flags);
	if (events->ring.vq && !pinhole_fault(dev))
		count = pinhole_events_handle(dev, events->num);
	pinhole_ring_unlock(&events->ring, flags, count);
	dev->up->done(dev);
}

/* Prepares the event queue, which has no virtqueue yet. */
void pinhole_events_init(struct pinhole_device *dev)
{
	spin_lock_init(&dev->events.ring.lock);
	INIT_WORK(&dev->events.work, pinhole_events_work);
}

/* The virtqueue was found: allocates buffers, and gives them to the device. */
int pinhole_events_open(struct pinhole_device *dev, struct virtqueue *vq)
{
	struct pinhole_events *events = &dev->events;
	unsigned int count = min_t(unsigned int, ARRAY_SIZE(events->bufs),
				   virtqueue_get_vring_size(vq));
	unsigned long flags;
	unsigned int i;
	int ret;

	spin_lock_irqsave(&events->ring.lock, flags);
	events->ring.vq = vq;
	spin_unlock_irqrestore(&events->ring.lock, flags);
	for (i = 0; i < count; i++) {
		events->bufs[i] = kzalloc(sizeof(*events->bufs[i]), GFP_KERNEL);
		if (!events->bufs[i])
			return -ENOMEM;
		events->num++;

		spin_lock_irqsave(&events->ring.lock, flags);
		ret = pinhole_event_offer(events, events->bufs[i]);
		spin_unlock_irqrestore(&events->ring.lock, flags);
		if (ret)
			return ret;
	}
	return 0;
}

/* Takes back all event buffers of a device that was reset, and frees them. */
void pinhole_events_detach(struct pinhole_device *dev)
{
	struct pinhole_events *events = &dev->events;
	unsigned long flags;
	unsigned int i;

	spin_lock_irqsave(&events->ring.lock, flags);
	while (virtqueue_detach_unused_buf(events->ring.vq))
		;
	events->ring.vq = NULL;
	spin_unlock_irqrestore(&events->ring.lock, flags);

	cancel_work_sync(&events->work);
	for (i = 0; i < events->num; i++)
		kfree(events->bufs[i]);
	events->num = 0;
}
