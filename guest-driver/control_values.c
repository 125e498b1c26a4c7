// SPDX-License-Identifier: GPL-2.0
/*
 * The values of the controls, between the control framework and the device.
 *
 * The framework's handler lock is held while the device is asked or told, so that
 * a value that comes from the device and one that goes there do not cross.
 *
 * Ordinary controls are one cluster to the framework, so that what an application
 * sets with one ioctl goes to the device with one.
 */
#include <linux/slab.h>
#include <linux/string.h>

#include "pinhole.h"

/**
 * struct pinhole_value - a value of a control on its way
 * @control: the control
 * @string: where it is, if it is a string: with room for the longest and a NUL
 * @number: itself, if it is none
 */
struct pinhole_value {
	struct pinhole_control *control;
	char *string;
	s64 number;
};

/*
 * Asks the device for values, tells it, or has it try them, all in one command.
 * What it does not take as a whole it is to leave alone as a whole.
 */
static int pinhole_values_call(struct pinhole_context *ctx, unsigned int cmd,
			       struct pinhole_value *values, unsigned int count)
{
	struct pinhole_call call = {
		.cmd = cmd,
		.length = sizeof(struct v4l2_ext_controls) +
			  count * sizeof(struct v4l2_ext_control),
	};
	struct v4l2_ext_controls *head = kzalloc(call.length, GFP_KERNEL);
	struct pinhole_piece *pieces = kcalloc(count, sizeof(*pieces), GFP_KERNEL);
	struct v4l2_ext_control *list;
	unsigned int i;
	int ret = -ENOMEM;

	if (!head || !pieces)
		goto out;
	list = (struct v4l2_ext_control *)(head + 1);
	call.payload = head;
	call.pieces = pieces;
	head->count = count;
	for (i = 0; i < count; i++) {
		struct pinhole_value *value = &values[i];

		list[i].id = value->control->id;
		if (value->string) {
			list[i].size = value->control->ctrl->maximum + 1;
			pieces[call.num_pieces].data = value->string;
			pieces[call.num_pieces++].length = list[i].size;
		} else if (value->control->type == V4L2_CTRL_TYPE_INTEGER64) {
			list[i].value64 = value->number;
		} else {
			list[i].value = value->number;
		}
	}

	ret = pinhole_call(ctx, &call);
	for (i = 0; !ret && i < count; i++) {
		struct pinhole_value *value = &values[i];
		const struct v4l2_ctrl *ctrl = value->control->ctrl;

		if (value->string)
			value->string[ctrl->maximum] = '\0';
		else if (ctrl->type == V4L2_CTRL_TYPE_INTEGER64)
			value->number = list[i].value64;
		else
			value->number = list[i].value;
		if (list[i].id != ctrl->id ||
		    (!value->string && !pinhole_value_good(ctrl, value->number)))
			ret = pinhole_nonsense(ctx->dev, cmd);
	}
out:
	kfree(pieces);
	kfree(head);
	return ret;
}

/* The framework's new value of a control. */
static struct pinhole_value pinhole_value_new(struct v4l2_ctrl *ctrl)
{
	struct pinhole_value value = { .control = ctrl->priv };

	if (ctrl->is_string)
		value.string = ctrl->p_new.p_char;
	else if (ctrl->type == V4L2_CTRL_TYPE_INTEGER64)
		value.number = *ctrl->p_new.p_s64;
	else
		value.number = ctrl->val;
	return value;
}

/* Makes a number the framework's new value of its control; a string is there. */
static void pinhole_value_store(const struct pinhole_value *value)
{
	struct v4l2_ctrl *ctrl = value->control->ctrl;

	if (ctrl->type == V4L2_CTRL_TYPE_INTEGER64)
		*ctrl->p_new.p_s64 = value->number;
	else if (!value->string && ctrl->type != V4L2_CTRL_TYPE_BUTTON)
		ctrl->val = value->number;
}

/* Asks the device for the value of a control: the framework's new one. */
static int pinhole_control_get(struct v4l2_ctrl *ctrl)
{
	struct pinhole_value value = pinhole_value_new(ctrl);
	struct pinhole_control *control = ctrl->priv;
	int ret;

	ret = pinhole_values_call(control->ctx, VIDIOC_G_EXT_CTRLS, &value, 1);
	if (!ret)
		pinhole_value_store(&value);
	return ret;
}

/* Somebody asks for a value that changes by itself. */
static int pinhole_g_volatile_ctrl(struct v4l2_ctrl *ctrl)
{
	return pinhole_control_get(ctrl);
}

/* What became of a control that the device was told: it is asked, if in doubt. */
static void pinhole_control_told(struct pinhole_control *control, int ret)
{
	if (!ret)
		control->was_set = true;
	else if (control->type != V4L2_CTRL_TYPE_BUTTON)
		pinhole_control_event(control->ctx, control->id,
				      V4L2_EVENT_CTRL_CH_VALUE);
}

/*
 * Sets or tries the new values of a cluster: those that an application sets with
 * one ioctl, as far as they are ordinary. The device may take other values than
 * it was told, but none if it refuses one.
 */
static int pinhole_cluster_call(struct v4l2_ctrl *master, unsigned int cmd)
{
	struct pinhole_control *control = master->priv;
	struct pinhole_value *values;
	unsigned int i, count = 0;
	int ret;

	values = kcalloc(master->ncontrols, sizeof(*values), GFP_KERNEL);
	if (!values)
		return -ENOMEM;
	for (i = 0; i < master->ncontrols; i++)
		if (master->cluster[i]->is_new)
			values[count++] = pinhole_value_new(master->cluster[i]);

	ret = pinhole_values_call(control->ctx, cmd, values, count);
	for (i = 0; i < count; i++) {
		if (!ret)
			pinhole_value_store(&values[i]);
		if (cmd == VIDIOC_S_EXT_CTRLS)
			pinhole_control_told(values[i].control, ret);
	}
	kfree(values);
	return ret;
}

/*
 * The framework has this done before it sets a cluster, too. A device that tries
 * nothing is asked once; the framework's own check has to do then.
 */
static int pinhole_try_ctrl(struct v4l2_ctrl *master)
{
	struct pinhole_control *control = master->priv;
	struct pinhole_controls *controls = &control->ctx->controls;
	int ret;

	if (controls->from_device || controls->tries_nothing ||
	    master->type == V4L2_CTRL_TYPE_BUTTON)
		return 0;
	ret = pinhole_cluster_call(master, VIDIOC_TRY_EXT_CTRLS);
	if (ret != -ENOTTY)
		return ret;
	controls->tries_nothing = true;
	return 0;
}

/* A value that came from the device is not sent back to it. */
static int pinhole_s_ctrl(struct v4l2_ctrl *master)
{
	struct pinhole_control *control = master->priv;
	unsigned int i;

	if (!control->ctx->controls.from_device)
		return pinhole_cluster_call(master, VIDIOC_S_EXT_CTRLS);
	for (i = 0; i < master->ncontrols; i++) {
		control = master->cluster[i]->priv;
		if (master->cluster[i]->is_new)
			control->was_set = false;
	}
	return 0;
}

const struct v4l2_ctrl_ops pinhole_control_ops = {
	.g_volatile_ctrl = pinhole_g_volatile_ctrl,
	.try_ctrl = pinhole_try_ctrl,
	.s_ctrl = pinhole_s_ctrl,
};

/*
 * The framework tells whoever has subscribed to the control if it has changed.
 * Of a volatile control it keeps no value, and tells nobody. A button has none:
 * that it was pushed is all there is to tell.
 */
static int pinhole_control_take_value(struct pinhole_control *control)
{
	struct pinhole_value value = { .control = control };
	struct v4l2_ctrl *ctrl = control->ctrl;
	int ret;

	if (control->type == V4L2_CTRL_TYPE_BUTTON)
		return __v4l2_ctrl_s_ctrl(ctrl, 0);
	if (ctrl->flags & (V4L2_CTRL_FLAG_VOLATILE | V4L2_CTRL_FLAG_WRITE_ONLY))
		return 0;

	if (ctrl->is_string) {
		value.string = kzalloc(ctrl->maximum + 1, GFP_KERNEL);
		if (!value.string)
			return -ENOMEM;
	}
	ret = pinhole_values_call(control->ctx, VIDIOC_G_EXT_CTRLS, &value, 1);
	if (ret)
		goto out;
	if (ctrl->is_string)
		ret = __v4l2_ctrl_s_ctrl_string(ctrl, value.string);
	else if (control->type == V4L2_CTRL_TYPE_INTEGER64)
		ret = __v4l2_ctrl_s_ctrl_int64(ctrl, value.number);
	else
		ret = __v4l2_ctrl_s_ctrl(ctrl, value.number);
out:
	kfree(value.string);
	return ret;
}

/*
 * Tells the device once more what an application has told it; what becomes of it
 * is taken over afterwards. What is not a state is not told again.
 */
static int pinhole_control_restore(struct pinhole_control *control)
{
	struct pinhole_value value = { .control = control };
	struct v4l2_ctrl *ctrl = control->ctrl;

	if (!control->was_set || control->type == V4L2_CTRL_TYPE_BUTTON ||
	    ctrl->flags & (V4L2_CTRL_FLAG_VOLATILE | V4L2_CTRL_FLAG_WRITE_ONLY |
			   V4L2_CTRL_FLAG_EXECUTE_ON_WRITE))
		return 0;
	if (ctrl->is_string)
		value.string = ctrl->p_cur.p_char;
	else if (ctrl->type == V4L2_CTRL_TYPE_INTEGER64)
		value.number = *ctrl->p_cur.p_s64;
	else
		value.number = ctrl->cur.val;
	return pinhole_values_call(control->ctx, VIDIOC_S_EXT_CTRLS, &value, 1);
}

/* What fails for want of memory is tried again later. */
static void pinhole_control_update(struct pinhole_control *control,
				   u32 changes)
{
	struct pinhole_context *ctx = control->ctx;
	struct pinhole_device *dev = ctx->dev;
	unsigned long flags;
	int ret = 0;

	v4l2_ctrl_lock(control->ctrl);
	if (changes & PINHOLE_CTRL_RESTORE)
		ret = pinhole_control_restore(control);
	/* What the device refuses is as if it had changed it. */
	if (!pinhole_is_local(ret) && !pinhole_session_fault(ctx))
		ret = 0;
	ctx->controls.from_device = true;
	if (!ret && changes & (V4L2_EVENT_CTRL_CH_FLAGS | V4L2_EVENT_CTRL_CH_RANGE))
		ret = pinhole_range_follow(control);
	if (!ret && changes & (V4L2_EVENT_CTRL_CH_VALUE | V4L2_EVENT_CTRL_CH_RANGE))
		ret = pinhole_control_take_value(control);
	ctx->controls.from_device = false;
	v4l2_ctrl_unlock(control->ctrl);

	/* A grabbed control follows when it is let go. */
	if (ret == -EBUSY && control->ctrl->flags & V4L2_CTRL_FLAG_GRABBED) {
		spin_lock_irqsave(&ctx->controls.lock, flags);
		control->stale |= changes;
		spin_unlock_irqrestore(&ctx->controls.lock, flags);
	} else if (ret == -ENOMEM) {
		spin_lock_irqsave(&ctx->controls.lock, flags);
		control->changes |= changes;
		if (!pinhole_session_fault(ctx))
			schedule_delayed_work(&ctx->controls.work,
					      PINHOLE_RETRY);
		spin_unlock_irqrestore(&ctx->controls.lock, flags);
	} else if (ret && !pinhole_session_fault(ctx)) {
		dev_warn_ratelimited(&dev->vdev->dev,
				     "control 0x%08x cannot follow the device: error %d\n",
				     control->id, ret);
	}
}

/* Takes over what the device has reported. */
void pinhole_control_work(struct work_struct *work)
{
	struct pinhole_controls *controls = container_of(to_delayed_work(work),
							 struct pinhole_controls,
							 work);
	struct pinhole_control *control;
	unsigned long flags;
	u32 changes;

	list_for_each_entry(control, &controls->list, node) {
		spin_lock_irqsave(&controls->lock, flags);
		changes = control->changes;
		control->changes = 0;
		spin_unlock_irqrestore(&controls->lock, flags);
		if (changes)
			pinhole_control_update(control, changes);
	}
}

/* Has what has changed taken over, unless it cannot be asked for. */
static void pinhole_controls_follow(struct pinhole_context *ctx)
{
	if (!pinhole_session_fault(ctx))
		mod_delayed_work(system_percpu_wq, &ctx->controls.work, 0);
}

/*
 * The device reports that a control has changed; false if there is no such one.
 * The event says what changed; the value is asked for later, when it is the
 * present one. However many events there are, they take no memory.
 */
bool pinhole_control_event(struct pinhole_context *ctx, u32 id, u32 changes)
{
	struct pinhole_controls *controls = &ctx->controls;
	struct pinhole_control *control;
	unsigned long flags;
	bool found = false;

	spin_lock_irqsave(&controls->lock, flags);
	list_for_each_entry(control, &controls->list, node) {
		if (control->id != id)
			continue;
		control->changes |= changes;
		found = true;
		break;
	}
	spin_unlock_irqrestore(&controls->lock, flags);
	if (found)
		pinhole_controls_follow(ctx);
	return found;
}

/* A control was let go, and can follow the device again. */
void pinhole_control_stale(struct pinhole_control *control)
{
	struct pinhole_context *ctx = control->ctx;
	unsigned long flags;

	spin_lock_irqsave(&ctx->controls.lock, flags);
	if (control->stale) {
		control->changes |= control->stale;
		control->stale = 0;
		pinhole_controls_follow(ctx);
	}
	spin_unlock_irqrestore(&ctx->controls.lock, flags);
}

/* All values may have changed, or the device has forgotten those that it had. */
void pinhole_controls_stale(struct pinhole_context *ctx, bool forgotten)
{
	struct pinhole_controls *controls = &ctx->controls;
	u32 changes = V4L2_EVENT_CTRL_CH_VALUE;
	struct pinhole_control *control;
	unsigned long flags;

	if (forgotten)
		changes |= PINHOLE_CTRL_RESTORE;
	spin_lock_irqsave(&controls->lock, flags);
	list_for_each_entry(control, &controls->list, node)
		if (control->type != V4L2_CTRL_TYPE_BUTTON &&
		    control->type != V4L2_CTRL_TYPE_CTRL_CLASS)
			control->changes |= changes;
	pinhole_controls_follow(ctx);
	spin_unlock_irqrestore(&controls->lock, flags);
}
