// SPDX-License-Identifier: GPL-2.0
/*
 * Subscriptions to events: the guest's applications' at the driver, and the
 * driver's at the card.
 *
 * The driver has one session, and subscribes it to all there is. Only of
 * FRAME_SYNC, which comes with every frame, it hears no more than it must.
 */
#include <media/v4l2-ctrls.h>
#include <media/v4l2-event.h>

#include "command.h"
#include "controls.h"
#include "pinhole.h"

/* More inputs than any card has. */
#define PINHOLE_MAX_INPUTS 32

/* What all subscriptions together may take at least, in jiffies. */
#define PINHOLE_SUBSCRIBE_TIME (20UL * HZ)

/**
 * pinhole_session_event() - subscribe or unsubscribe the session
 * @dev: device
 * @cmd: VIDIOC_SUBSCRIBE_EVENT or VIDIOC_UNSUBSCRIBE_EVENT
 * @type: V4L2_EVENT_*
 * @id: control or input
 *
 * Context: Process context; session_mutex is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_session_event(struct pinhole_device *dev, unsigned int cmd,
				 u32 type, u32 id)
{
	struct v4l2_event_subscription sub = { .type = type, .id = id };

	return pinhole_session_ioctl(dev, cmd, &sub);
}

/**
 * pinhole_subscribe_inputs() - subscribe the session to changes of the inputs
 * @dev: device
 * @end: when to stop, in jiffies
 *
 * Context: Process context; session_mutex is held. Waits for the card.
 * Return: 1 if the card takes such subscriptions, 0 if not, or a negative errno
 * that says nothing of the card.
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

/**
 * pinhole_session_subscribe() - subscribe the session to the card's events
 * @dev: device with a session that is not yet subscribed
 *
 * A card may have no events at all. What it refuses is told from what did not
 * get there for want of memory: the latter is tried again, in another session.
 *
 * Context: Process context; session_mutex is held. Waits for the card.
 * Return: 0, -ETIMEDOUT if it takes the card several times the timeout, or a
 * negative errno that says nothing of the card.
 */
int pinhole_session_subscribe(struct pinhole_device *dev)
{
	const unsigned int cmd = VIDIOC_SUBSCRIBE_EVENT;
	const unsigned long end = jiffies + max(4 * pinhole_timeout(),
						PINHOLE_SUBSCRIBE_TIME);
	struct pinhole_control *control;
	unsigned int refused = 0;
	int ret;

	ret = pinhole_session_event(dev, cmd, V4L2_EVENT_EOS, 0);
	if (pinhole_is_local(ret))
		return ret;
	dev->has_eos = !ret;
	ret = pinhole_subscribe_inputs(dev, end);
	if (ret < 0)
		return ret;
	dev->has_source_change = ret;
	if (dev->frame_sync_users) {
		ret = pinhole_session_event(dev, cmd, V4L2_EVENT_FRAME_SYNC, 0);
		if (pinhole_is_local(ret))
			return ret;
	}

	list_for_each_entry(control, &dev->controls, node) {
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
			      "the card does not tell when %u of its controls change\n",
			      refused);
	return 0;
}

/**
 * pinhole_frame_sync_add() - somebody subscribes to FRAME_SYNC
 * @sev: subscription
 * @elems: number of events that it holds
 *
 * Context: Process context. Takes session_mutex; may wait for the card.
 * Return: 0 or a negative errno; -EINVAL if the card has no such event.
 */
static int pinhole_frame_sync_add(struct v4l2_subscribed_event *sev,
				  unsigned int elems)
{
	struct pinhole_device *dev = video_get_drvdata(sev->fh->vdev);
	int ret = 0;

	if (mutex_lock_killable(&dev->session_mutex))
		return -ERESTARTSYS;
	if (!dev->frame_sync_users) {
		ret = pinhole_session_ready(dev);
		if (!ret)
			ret = pinhole_session_event(dev, VIDIOC_SUBSCRIBE_EVENT,
						    V4L2_EVENT_FRAME_SYNC, 0);
	}
	if (!ret)
		dev->frame_sync_users++;
	mutex_unlock(&dev->session_mutex);
	return ret == -ENOTTY ? -EINVAL : ret;
}

/**
 * pinhole_frame_sync_del() - somebody has no more use for FRAME_SYNC
 * @sev: subscription
 *
 * Context: Process context. Takes session_mutex; may wait for the card.
 * Return: Nothing.
 */
static void pinhole_frame_sync_del(struct v4l2_subscribed_event *sev)
{
	struct pinhole_device *dev = video_get_drvdata(sev->fh->vdev);

	mutex_lock(&dev->session_mutex);
	if (!--dev->frame_sync_users && !pinhole_session_ready(dev))
		pinhole_session_event(dev, VIDIOC_UNSUBSCRIBE_EVENT,
				      V4L2_EVENT_FRAME_SYNC, 0);
	mutex_unlock(&dev->session_mutex);
}

static const struct v4l2_subscribed_event_ops pinhole_frame_sync_ops = {
	.add = pinhole_frame_sync_add,
	.del = pinhole_frame_sync_del,
};

/**
 * pinhole_subscribe_event() - VIDIOC_SUBSCRIBE_EVENT
 * @fh: file handle
 * @sub: subscription
 *
 * Context: Process context; ioctl_mutex is held. May wait for the card.
 * Return: 0 or a negative errno; -EINVAL if there is no such event.
 */
int pinhole_subscribe_event(struct v4l2_fh *fh,
			    const struct v4l2_event_subscription *sub)
{
	struct pinhole_device *dev = video_get_drvdata(fh->vdev);

	switch (sub->type) {
	case V4L2_EVENT_CTRL:
		return v4l2_ctrl_subscribe_event(fh, sub);
	case V4L2_EVENT_SOURCE_CHANGE:
		if (!dev->has_source_change)
			return -EINVAL;
		return v4l2_src_change_event_subscribe(fh, sub);
	case V4L2_EVENT_EOS:
		if (!dev->has_eos || sub->id)
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

/**
 * pinhole_has_events() - whether there are events to subscribe to
 * @dev: device, its session subscribed
 *
 * Controls have events even if the card has none: what one application sets
 * the framework tells the others.
 *
 * Context: Process context.
 * Return: True if there are.
 */
bool pinhole_has_events(struct pinhole_device *dev)
{
	return dev->has_eos || dev->has_source_change ||
	       !list_empty(&dev->controls);
}
