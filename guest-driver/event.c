// SPDX-License-Identifier: GPL-2.0
/*
 * The event queue.
 *
 * Nothing in an event is taken on trust. What lies about a buffer ends the
 * stream, not the kernel; any other event that is late, unknown or nonsensical
 * does no harm, and is ignored and counted.
 */
#include <linux/slab.h>
#include <media/v4l2-event.h>

#include "command.h"
#include "controls.h"
#include "pinhole.h"
#include "trace.h"

/**
 * pinhole_event_ignore() - ignore an event
 * @dev: device
 * @event: VIRTIO_MEDIA_EVT_*, or what the card said instead
 * @session_id: session that the card said it is for
 * @used: number of bytes that the card says it wrote
 *
 * Context: Any; the device's lock is held.
 * Return: NULL: nothing is wrong that anybody suffers from.
 */
static const char *pinhole_event_ignore(struct pinhole_device *dev, u32 event,
					u32 session_id, u32 used)
{
	dev->ignored++;
	trace_pinhole_ignored(event, session_id, used);
	return NULL;
}

/**
 * pinhole_event_offer() - give the card an event buffer
 * @dev: device
 * @event: event buffer
 *
 * Context: Any; the device's lock is held.
 * Return: 0 or a negative errno.
 */
static int pinhole_event_offer(struct pinhole_device *dev,
			       struct virtio_media_event_dqbuf *event)
{
	struct scatterlist sg;

	sg_init_one(&sg, event, sizeof(*event));
	return virtqueue_add_inbuf(dev->eventq, &sg, 1, event, GFP_ATOMIC);
}

/**
 * pinhole_event_dqbuf() - the card has returned a buffer
 * @dev: device
 * @event: event buffer, which the card may still be changing
 * @used: number of bytes that the card says it wrote
 *
 * Context: Any; the device's lock is held.
 * Return: NULL, or what is wrong with it.
 */
static const char *pinhole_event_dqbuf(struct pinhole_device *dev,
				       struct virtio_media_event_dqbuf *event,
				       u32 used)
{
	struct v4l2_plane planes[VIRTIO_MEDIA_MAX_PLANES];
	struct v4l2_buffer b;

	if (used < offsetof(struct virtio_media_event_dqbuf, planes))
		return "sent an event of the wrong length";
	if (dev->stream == PINHOLE_STOPPED || dev->stream_failed)
		return NULL;

	memcpy(&b, &event->buffer, sizeof(b));
	if (!pinhole_is_multiplanar(dev))
		return pinhole_buffer_returned(dev, &b, NULL);

	if (used < sizeof(*event))
		return "sent an event of the wrong length";
	memcpy(planes, event->planes, sizeof(planes));
	return pinhole_buffer_returned(dev, &b, planes);
}

/**
 * pinhole_event_v4l2() - the card reports a V4L2 event
 * @dev: device
 * @event: event buffer, which the card may still be changing
 * @used: number of bytes that the card says it wrote
 *
 * Only what the type of the event defines goes to applications. An event that
 * nobody waits for any more is late, not wrong.
 *
 * Context: Any; the device's lock is held.
 * Return: NULL, or what is wrong with it.
 */
static const char *pinhole_event_v4l2(struct pinhole_device *dev,
				      struct virtio_media_event_dqbuf *event,
				      u32 used)
{
	struct v4l2_event ev, out = {};

	if (used < sizeof(struct virtio_media_event_event))
		return pinhole_event_ignore(dev, VIRTIO_MEDIA_EVT_EVENT,
					    dev->session_id, used);
	memcpy(&ev, (void *)event + offsetof(struct virtio_media_event_event,
					     event), sizeof(ev));
	out.type = ev.type;
	switch (ev.type) {
	case V4L2_EVENT_CTRL:
		if (pinhole_control_event(dev, ev.id, ev.u.ctrl.changes))
			return NULL;
		return pinhole_event_ignore(dev, VIRTIO_MEDIA_EVT_EVENT,
					    dev->session_id, used);
	case V4L2_EVENT_SOURCE_CHANGE:
		out.id = ev.id;
		out.u.src_change.changes = ev.u.src_change.changes &
					   V4L2_EVENT_SRC_CH_RESOLUTION;
		break;
	case V4L2_EVENT_EOS:
		break;
	case V4L2_EVENT_FRAME_SYNC:
		out.u.frame_sync.frame_sequence =
			ev.u.frame_sync.frame_sequence;
		break;
	default:
		return pinhole_event_ignore(dev, VIRTIO_MEDIA_EVT_EVENT,
					    dev->session_id, used);
	}
	/* The first may come before there is a node to subscribe at. */
	if (video_is_registered(&dev->video_dev))
		v4l2_event_queue(&dev->video_dev, &out);
	return NULL;
}

/**
 * pinhole_event_handle() - handle one event
 * @dev: device
 * @event: event buffer, which the card may still be changing
 * @used: number of bytes that the card says it wrote
 *
 * Events of a stream that is stopped or dead, or of a session that was
 * replaced, are late, not wrong: the card may have sent them before it was told.
 *
 * Context: Any; the device's lock is held.
 * Return: NULL, or what is wrong with it.
 */
static const char *pinhole_event_handle(struct pinhole_device *dev,
					struct virtio_media_event_dqbuf *event,
					u32 used)
{
	u32 type, session_id;

	if (used < sizeof(event->hdr) || used > sizeof(*event))
		return pinhole_event_ignore(dev, U32_MAX, 0, used);

	type = le32_to_cpu(READ_ONCE(event->hdr.event));
	session_id = le32_to_cpu(READ_ONCE(event->hdr.session_id));
	if (session_id != dev->session_id)
		return pinhole_event_ignore(dev, type, session_id, used);

	switch (type) {
	case VIRTIO_MEDIA_EVT_ERROR:
		pinhole_session_lost(dev);
		return NULL;
	case VIRTIO_MEDIA_EVT_DQBUF:
		return pinhole_event_dqbuf(dev, event, used);
	case VIRTIO_MEDIA_EVT_EVENT:
		return pinhole_event_v4l2(dev, event, used);
	default:
		return pinhole_event_ignore(dev, type, session_id, used);
	}
}

/**
 * pinhole_events_handle() - handle all events that have arrived
 * @dev: device
 *
 * Context: Any; the device's lock is held.
 * Return: Nothing.
 */
static void pinhole_events_handle(struct pinhole_device *dev)
{
	struct virtio_media_event_dqbuf *event;
	const char *wrong;
	unsigned int used;
	bool any = false;

	while ((event = virtqueue_get_buf(dev->eventq, &used))) {
		wrong = pinhole_event_handle(dev, event, used);
		if (wrong)
			pinhole_stream_fail(dev, wrong);
		if (pinhole_event_offer(dev, event))
			pinhole_stream_fail(dev, "broke the event queue");
		any = true;
	}
	if (any) {
		dev->heard = jiffies;
		virtqueue_kick(dev->eventq);
	}
}

/**
 * pinhole_eventq_cb() - events have arrived
 * @vq: the event queue
 *
 * Context: Interrupt. Takes the device's lock.
 * Return: Nothing.
 */
void pinhole_eventq_cb(struct virtqueue *vq)
{
	struct pinhole_device *dev = vq->vdev->priv;
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	if (!dev->fault) {
		do {
			virtqueue_disable_cb(vq);
			pinhole_events_handle(dev);
		} while (!virtqueue_enable_cb(vq));
	}
	spin_unlock_irqrestore(&dev->lock, flags);
}

/**
 * pinhole_events_drain() - handle the events of a stream that has ended
 * @dev: device
 *
 * The interrupt for an event may come later than the one for the reply to a
 * command that the card sent after it. Without this, the event of a buffer of
 * the last stream could be taken for one of the next.
 *
 * Context: Process context. Takes the device's lock.
 * Return: Nothing.
 */
void pinhole_events_drain(struct pinhole_device *dev)
{
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	if (!dev->fault)
		pinhole_events_handle(dev);
	spin_unlock_irqrestore(&dev->lock, flags);
}

/**
 * pinhole_events_init() - allocate the event buffers and give them to the card
 * @dev: device, with queues found and not yet ready
 *
 * Context: Process context.
 * Return: 0 or a negative errno; pinhole_events_free() is to be called on both.
 */
int pinhole_events_init(struct pinhole_device *dev)
{
	unsigned int count = min_t(unsigned int, ARRAY_SIZE(dev->events),
				   virtqueue_get_vring_size(dev->eventq));
	unsigned long flags;
	unsigned int i;
	int ret;

	for (i = 0; i < count; i++) {
		dev->events[i] = kzalloc(sizeof(*dev->events[i]), GFP_KERNEL);
		if (!dev->events[i])
			return -ENOMEM;
		dev->num_events++;

		spin_lock_irqsave(&dev->lock, flags);
		ret = pinhole_event_offer(dev, dev->events[i]);
		spin_unlock_irqrestore(&dev->lock, flags);
		if (ret)
			return ret;
	}
	return 0;
}

/**
 * pinhole_events_free() - free the event buffers
 * @dev: device, reset
 *
 * Context: Process context. Takes the device's lock.
 * Return: Nothing.
 */
void pinhole_events_free(struct pinhole_device *dev)
{
	unsigned long flags;
	unsigned int i;

	spin_lock_irqsave(&dev->lock, flags);
	while (virtqueue_detach_unused_buf(dev->eventq))
		;
	spin_unlock_irqrestore(&dev->lock, flags);

	for (i = 0; i < dev->num_events; i++)
		kfree(dev->events[i]);
	dev->num_events = 0;
}
