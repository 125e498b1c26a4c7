// SPDX-License-Identifier: GPL-2.0
/*
 * Subscriptions to events: the guest's applications' at the driver, and the
 * driver's at the device.
 *
 * The driver has one session, and subscribes it to all there is. Only of
 * FRAME_SYNC, which comes with every frame, it hears no more than it must.
 */
#include <media/v4l2-ctrls.h>
#include <media/v4l2-event.h>

#include "pinhole.h"

/* More inputs than any device has. */
#define PINHOLE_MAX_INPUTS 32

/* What all subscriptions together may take at least, in jiffies. */
#define PINHOLE_SUBSCRIBE_TIME (20UL * HZ)

/* Subscribes or unsubscribes the session. */
static int pinhole_session_event(struct pinhole_device *dev, unsigned int cmd,
				 u32 type, u32 id)
{
	struct v4l2_event_subscription sub = { .type = type, .id = id };

	return pinhole_session_ioctl(dev, cmd, &sub);
}

/*
 * Subscribes the session to changes of the inputs; 1 if the device takes such
 * subscriptions, 0 if not.
 */
static int pinhole_subscribe_inputs(struct pinhole_device *dev,
				    unsigned long end)
{
	int ret, any = 0;
	u32 i;

	for (i = 0; i < PINHOLE_MAX_INPUTS; i++) {
		struct v4l2_input input = { .index = i };

		ret = pinhole_session_ioctl(dev, VIDIOC_ENUMINPUT, &input);
		if (!ret)
			ret = pinhole_session_event(dev, VIDIOC_SUBSCRIBE_EVENT,
						    V4L2_EVENT_SOURCE_CHANGE,
						    i);
		if (pinhole_is_local(ret))
			return ret;
		if (time_after(jiffies, end))
			return -ETIMEDOUT;
		if (ret)
			break;
		any = 1;
	}
	return any;
}

/*
 * Subscribes the session to FRAME_SYNC if somebody listens, and else finds out whether
 * the device would let it. What memory is too short for is returned.
 */
static int pinhole_subscribe_frame_sync(struct pinhole_device *dev)
{
	struct pinhole_subscriptions *subs = &dev->subscriptions;
	int ret;

	ret = pinhole_session_event(dev, VIDIOC_SUBSCRIBE_EVENT,
				    V4L2_EVENT_FRAME_SYNC, 0);
	if (pinhole_is_local(ret))
		return ret;
	subs->has_frame_sync = !ret;
	if (!subs->has_frame_sync || subs->frame_sync_users)
		return 0;
	ret = pinhole_session_event(dev, VIDIOC_UNSUBSCRIBE_EVENT,
				    V4L2_EVENT_FRAME_SYNC, 0);
	return pinhole_is_local(ret) ? ret : 0;
}

/*
 * Subscribes a new session to the device's events, of which there may be none.
 * What it refuses is told from what did not get there for want of memory: the
 * latter is tried again, in another session. -ETIMEDOUT if it takes the device
 * several times the timeout.
 */
static int pinhole_session_subscribe(struct pinhole_device *dev)
{
	const unsigned int cmd = VIDIOC_SUBSCRIBE_EVENT;
	const unsigned long end = jiffies + max(4 * pinhole_timeout(),
						PINHOLE_SUBSCRIBE_TIME);
	struct pinhole_control *control;
	unsigned int refused = 0;
	int ret;

	lockdep_assert_held(&dev->session.mutex);
	ret = pinhole_session_event(dev, cmd, V4L2_EVENT_EOS, 0);
	if (pinhole_is_local(ret))
		return ret;
	dev->subscriptions.has_eos = !ret;
	if (!pinhole_is_output(dev)) {
		ret = pinhole_subscribe_inputs(dev, end);
		if (ret < 0)
			return ret;
		dev->subscriptions.has_source_change = ret;
	}
	ret = pinhole_subscribe_frame_sync(dev);
	if (ret)
		return ret;

	list_for_each_entry(control, &dev->controls.list, node) {
		if (control->type == V4L2_CTRL_TYPE_CTRL_CLASS)
			continue;
		ret = pinhole_session_event(dev, cmd, V4L2_EVENT_CTRL,
					    control->id);
		if (pinhole_is_local(ret))
			return ret;
		if (time_after(jiffies, end))
			return -ETIMEDOUT;
		refused += !!ret;
	}
	if (refused)
		dev_warn_once(&dev->vdev->dev,
			      "changes of %u controls are not reported\n",
			      refused);
	return 0;
}

/**
 * pinhole_session_renewed() - there is a new session
 * @dev: device
 *
 * Subscriptions went with the old one, and changes of controls may have been
 * missed. A device that was reset is told again what it has forgotten.
 *
 * Context: Process context; session.mutex is held. Waits for the device.
 * Return: As the callback.
 */
int pinhole_session_renewed(struct pinhole_device *dev)
{
	int ret = pinhole_session_subscribe(dev);

	if (ret)
		return ret;
	pinhole_controls_stale(dev, dev->session.fresh);
	dev->session.fresh = false;
	return 0;
}

/**
 * pinhole_v4l2_event() - the device reports a V4L2 event
 * @dev: device
 * @session_id: session that it is for
 * @event: the event, out of the device's reach
 *
 * Only what the type of the event defines goes to applications.
 *
 * Context: Any; the event ring's lock is held.
 * Return: False if it is to be ignored.
 */
bool pinhole_v4l2_event(struct pinhole_device *dev, u32 session_id,
			const struct virtio_media_event_event *event)
{
	const struct v4l2_event *ev = &event->event;
	struct v4l2_event out = { .type = ev->type };

	if (session_id != READ_ONCE(dev->session.id))
		return false;
	switch (ev->type) {
	case V4L2_EVENT_CTRL:
		return pinhole_control_event(dev, ev->id,
					     ev->u.ctrl.changes &
					     ~PINHOLE_CTRL_RESTORE);
	case V4L2_EVENT_SOURCE_CHANGE:
		out.id = ev->id;
		out.u.src_change.changes = ev->u.src_change.changes &
					   V4L2_EVENT_SRC_CH_RESOLUTION;
		break;
	case V4L2_EVENT_EOS:
		break;
	case V4L2_EVENT_FRAME_SYNC:
		out.u.frame_sync.frame_sequence =
			ev->u.frame_sync.frame_sequence;
		break;
	default:
		return false;
	}
	/* The first may come before there is a node to subscribe at. */
	if (video_is_registered(&dev->video_dev))
		v4l2_event_queue(&dev->video_dev, &out);
	return true;
}

static int pinhole_frame_sync_add(struct v4l2_subscribed_event *sev,
				  unsigned int elems)
{
	struct pinhole_device *dev = video_get_drvdata(sev->fh->vdev);
	int ret = 0;

	if (mutex_lock_killable(&dev->session.mutex))
		return -ERESTARTSYS;
	if (!dev->subscriptions.frame_sync_users) {
		ret = pinhole_session_ready(dev);
		if (!ret)
			ret = pinhole_session_event(dev, VIDIOC_SUBSCRIBE_EVENT,
						    V4L2_EVENT_FRAME_SYNC, 0);
	}
	if (!ret)
		dev->subscriptions.frame_sync_users++;
	mutex_unlock(&dev->session.mutex);
	return ret == -ENOTTY ? -EINVAL : ret;
}

static void pinhole_frame_sync_del(struct v4l2_subscribed_event *sev)
{
	struct pinhole_device *dev = video_get_drvdata(sev->fh->vdev);

	mutex_lock(&dev->session.mutex);
	if (!--dev->subscriptions.frame_sync_users && !pinhole_session_ready(dev))
		pinhole_session_event(dev, VIDIOC_UNSUBSCRIBE_EVENT,
				      V4L2_EVENT_FRAME_SYNC, 0);
	mutex_unlock(&dev->session.mutex);
}

static const struct v4l2_subscribed_event_ops pinhole_frame_sync_ops = {
	.add = pinhole_frame_sync_add,
	.del = pinhole_frame_sync_del,
};

int pinhole_subscribe_event(struct v4l2_fh *fh,
			    const struct v4l2_event_subscription *sub)
{
	struct pinhole_device *dev = video_get_drvdata(fh->vdev);

	switch (sub->type) {
	case V4L2_EVENT_CTRL:
		return v4l2_ctrl_subscribe_event(fh, sub);
	case V4L2_EVENT_SOURCE_CHANGE:
		if (!dev->subscriptions.has_source_change)
			return -EINVAL;
		return v4l2_src_change_event_subscribe(fh, sub);
	case V4L2_EVENT_EOS:
		if (!dev->subscriptions.has_eos || sub->id)
			return -EINVAL;
		return v4l2_event_subscribe(fh, sub, 2, NULL);
	case V4L2_EVENT_FRAME_SYNC:
		if (sub->id)
			return -EINVAL;
		return v4l2_event_subscribe(fh, sub, 8, &pinhole_frame_sync_ops);
	default:
		return -EINVAL;
	}
}

/*
 * Whether there are events to subscribe to. Controls have events even if the
 * device has none: what one application sets the framework tells the others.
 */
bool pinhole_has_events(struct pinhole_device *dev)
{
	const struct pinhole_subscriptions *subs = &dev->subscriptions;

	return subs->has_eos || subs->has_source_change ||
	       subs->has_frame_sync || !list_empty(&dev->controls.list);
}
