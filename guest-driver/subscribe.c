// SPDX-License-Identifier: GPL-2.0
/*
 * Subscriptions to events: the guest's applications' at the driver, and the
 * driver's at the device.
 *
 * The driver subscribes each session to all there is. Only of
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
static int pinhole_session_event(struct pinhole_context *ctx, unsigned int cmd,
				 u32 type, u32 id)
{
	struct v4l2_event_subscription sub = { .type = type, .id = id };

	return pinhole_session_ioctl(ctx, cmd, &sub);
}

/*
 * Subscribes the session to changes of the source, of which each input is one, or the
 * stream that is read; 1 if the device takes such subscriptions, 0 if not.
 */
static int pinhole_subscribe_sources(struct pinhole_context *ctx,
				     unsigned long end)
{
	int ret, any = 0;
	u32 i;

	if (pinhole_is_m2m(ctx->dev)) {
		ret = pinhole_session_event(ctx, VIDIOC_SUBSCRIBE_EVENT,
					    V4L2_EVENT_SOURCE_CHANGE, 0);
		return pinhole_is_local(ret) ? ret : !ret;
	}
	for (i = 0; i < PINHOLE_MAX_INPUTS; i++) {
		struct v4l2_input input = { .index = i };

		ret = pinhole_session_ioctl(ctx, VIDIOC_ENUMINPUT, &input);
		if (!ret)
			ret = pinhole_session_event(ctx, VIDIOC_SUBSCRIBE_EVENT,
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
static int pinhole_subscribe_frame_sync(struct pinhole_context *ctx)
{
	struct pinhole_subscriptions *subs = &ctx->subscriptions;
	int ret;

	ret = pinhole_session_event(ctx, VIDIOC_SUBSCRIBE_EVENT,
				    V4L2_EVENT_FRAME_SYNC, 0);
	if (pinhole_is_local(ret))
		return ret;
	subs->has_frame_sync = !ret;
	if (!subs->has_frame_sync || subs->frame_sync_users)
		return 0;
	ret = pinhole_session_event(ctx, VIDIOC_UNSUBSCRIBE_EVENT,
				    V4L2_EVENT_FRAME_SYNC, 0);
	return pinhole_is_local(ret) ? ret : 0;
}

/*
 * Subscribes a new session to the device's events, of which there may be none.
 * What it refuses is told from what did not get there for want of memory: the
 * latter is tried again, in another session. -ETIMEDOUT if it takes the device
 * several times the timeout.
 */
static int pinhole_session_subscribe(struct pinhole_context *ctx)
{
	struct pinhole_subscriptions *subs = &ctx->subscriptions;
	const unsigned int cmd = VIDIOC_SUBSCRIBE_EVENT;
	const unsigned long end = jiffies + max(4 * pinhole_timeout(),
						PINHOLE_SUBSCRIBE_TIME);
	struct pinhole_control *control;
	unsigned int refused = 0;
	int ret;

	lockdep_assert_held(&ctx->dev->commands.mutex);
	ret = pinhole_session_event(ctx, cmd, V4L2_EVENT_EOS, 0);
	if (pinhole_is_local(ret))
		return ret;
	subs->has_eos = !ret;
	if (pinhole_is_m2m(ctx->dev) || !pinhole_is_output(ctx->streams)) {
		ret = pinhole_subscribe_sources(ctx, end);
		if (ret < 0)
			return ret;
		subs->has_source_change = ret;
	}
	ret = pinhole_subscribe_frame_sync(ctx);
	if (ret)
		return ret;

	list_for_each_entry(control, &ctx->controls.list, node) {
		if (control->type == V4L2_CTRL_TYPE_CTRL_CLASS)
			continue;
		ret = pinhole_session_event(ctx, cmd, V4L2_EVENT_CTRL,
					    control->id);
		if (pinhole_is_local(ret))
			return ret;
		if (time_after(jiffies, end))
			return -ETIMEDOUT;
		refused += !!ret;
	}
	if (refused)
		dev_warn_once(&ctx->dev->vdev->dev,
			      "changes of %u controls are not reported\n",
			      refused);
	return 0;
}

/**
 * pinhole_session_renewed() - there is a new session
 * @ctx: its context
 *
 * Subscriptions went with the old one, and changes of controls may have been
 * missed. A device that was reset is told again what it has forgotten.
 *
 * Context: Process context; commands.mutex is held. Waits for the device.
 * Return: As the callback.
 */
int pinhole_session_renewed(struct pinhole_context *ctx)
{
	struct pinhole_recovery *recovery = &ctx->dev->recovery;
	int ret = pinhole_session_subscribe(ctx);

	if (ret)
		return ret;
	pinhole_controls_stale(ctx, recovery->fresh);
	recovery->fresh = false;
	return 0;
}

/* Takes over an event; false if it is to be ignored. */
static bool pinhole_context_event(struct pinhole_context *ctx,
				  const struct v4l2_event *ev)
{
	struct v4l2_event out = { .type = ev->type };

	switch (ev->type) {
	case V4L2_EVENT_CTRL:
		return pinhole_control_event(ctx, ev->id,
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
	pinhole_tell(ctx, &out);
	return true;
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
	struct pinhole_context *ctx;
	bool known;

	rcu_read_lock();
	ctx = pinhole_context_find(dev, session_id);
	known = ctx && pinhole_context_event(ctx, &event->event);
	rcu_read_unlock();
	return known;
}

static int pinhole_frame_sync_add(struct v4l2_subscribed_event *sev,
				  unsigned int elems)
{
	struct pinhole_context *ctx = pinhole_fh_context(sev->fh);
	int ret = 0;

	if (mutex_lock_killable(&ctx->dev->commands.mutex))
		return -ERESTARTSYS;
	if (!ctx->subscriptions.frame_sync_users) {
		ret = pinhole_session_ready(ctx);
		if (!ret)
			ret = pinhole_session_event(ctx, VIDIOC_SUBSCRIBE_EVENT,
						    V4L2_EVENT_FRAME_SYNC, 0);
	}
	if (!ret)
		ctx->subscriptions.frame_sync_users++;
	mutex_unlock(&ctx->dev->commands.mutex);
	return ret == -ENOTTY ? -EINVAL : ret;
}

static void pinhole_frame_sync_del(struct v4l2_subscribed_event *sev)
{
	struct pinhole_context *ctx = pinhole_fh_context(sev->fh);

	mutex_lock(&ctx->dev->commands.mutex);
	if (!--ctx->subscriptions.frame_sync_users && !pinhole_session_ready(ctx))
		pinhole_session_event(ctx, VIDIOC_UNSUBSCRIBE_EVENT,
				      V4L2_EVENT_FRAME_SYNC, 0);
	mutex_unlock(&ctx->dev->commands.mutex);
}

static const struct v4l2_subscribed_event_ops pinhole_frame_sync_ops = {
	.add = pinhole_frame_sync_add,
	.del = pinhole_frame_sync_del,
};

int pinhole_subscribe_event(struct v4l2_fh *fh,
			    const struct v4l2_event_subscription *sub)
{
	struct pinhole_context *ctx = pinhole_fh_context(fh);

	switch (sub->type) {
	case V4L2_EVENT_CTRL:
		return v4l2_ctrl_subscribe_event(fh, sub);
	case V4L2_EVENT_SOURCE_CHANGE:
		if (!ctx->subscriptions.has_source_change)
			return -EINVAL;
		return v4l2_src_change_event_subscribe(fh, sub);
	case V4L2_EVENT_EOS:
		if (!ctx->subscriptions.has_eos || sub->id)
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
bool pinhole_has_events(const struct pinhole_context *ctx)
{
	const struct pinhole_subscriptions *subs = &ctx->subscriptions;

	return subs->has_eos || subs->has_source_change ||
	       subs->has_frame_sync || !list_empty(&ctx->controls.list);
}
