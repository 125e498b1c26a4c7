// SPDX-License-Identifier: GPL-2.0
/*
 * The values of the controls, between the control framework and the card.
 *
 * The framework's handler lock is held while the card is asked or told, so
 * that a value that comes from the card and one that goes there do not cross.
 */
#include <linux/slab.h>
#include <linux/string.h>

#include "command.h"
#include "controls.h"
#include "pinhole.h"

/**
 * struct pinhole_control_call - G_EXT_CTRLS or S_EXT_CTRLS of one control
 * @ctrls: the ioctl's payload
 * @ctrl: the one control
 */
struct pinhole_control_call {
	struct v4l2_ext_controls ctrls;
	struct v4l2_ext_control ctrl;
} __packed;

/**
 * pinhole_control_call() - ask the card for a value, or tell it
 * @control: control
 * @cmd: VIDIOC_G_EXT_CTRLS or VIDIOC_S_EXT_CTRLS
 * @value: value of a control that is no string
 * @string: value of one that is, with room for its longest and a NUL
 *
 * Context: Process context; the handler's lock is held. Takes session_mutex;
 * waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_control_call(struct pinhole_control *control,
				unsigned int cmd, s64 *value, char *string)
{
	struct pinhole_control_call payload = {
		.ctrls.count = 1,
		.ctrl.id = control->id,
	};
	struct pinhole_call call = {
		.cmd = cmd,
		.payload = &payload,
		.length = sizeof(payload),
	};
	bool wide = control->type == V4L2_CTRL_TYPE_INTEGER64;
	unsigned long flags;
	int ret;

	if (string) {
		call.data = string;
		call.data_length = control->ctrl->maximum + 1;
		payload.ctrl.size = call.data_length;
	} else if (wide) {
		payload.ctrl.value64 = *value;
	} else {
		payload.ctrl.value = *value;
	}

	ret = pinhole_call(control->dev, &call);
	if (ret == -ERESTARTSYS && cmd == VIDIOC_S_EXT_CTRLS) {
		/* The card may have taken it all the same. */
		spin_lock_irqsave(&control->dev->lock, flags);
		pinhole_control_event(control->dev, control->id,
				      V4L2_EVENT_CTRL_CH_VALUE);
		spin_unlock_irqrestore(&control->dev->lock, flags);
	}
	if (ret)
		return ret;
	if (payload.ctrl.id != control->id)
		return pinhole_nonsense(control->dev, cmd);
	if (string)
		string[control->ctrl->maximum] = '\0';
	else
		*value = wide ? payload.ctrl.value64 : payload.ctrl.value;
	return 0;
}

/**
 * pinhole_value_good() - whether a value is one that a control can have
 * @ctrl: control, no string
 * @value: value
 *
 * Context: Process context; the handler's lock is held.
 * Return: True if it is.
 */
static bool pinhole_value_good(const struct v4l2_ctrl *ctrl, s64 value)
{
	switch (ctrl->type) {
	case V4L2_CTRL_TYPE_BUTTON:
		return true;
	case V4L2_CTRL_TYPE_BITMASK:
		return !((u32)value & ~(u32)ctrl->maximum);
	case V4L2_CTRL_TYPE_MENU:
		if (value < ctrl->minimum || value > ctrl->maximum)
			return false;
		return ctrl->qmenu[value][0];
	case V4L2_CTRL_TYPE_INTEGER_MENU:
		if (value < ctrl->minimum || value > ctrl->maximum)
			return false;
		return !(ctrl->menu_skip_mask & BIT_ULL(value));
	default:
		return value >= ctrl->minimum && value <= ctrl->maximum;
	}
}

/**
 * pinhole_control_get() - ask the card for the value of a control
 * @control: control
 *
 * Context: Process context; the handler's lock is held. Waits for the card.
 * Return: 0, with the value as the framework's new one, or a negative errno.
 */
static int pinhole_control_get(struct pinhole_control *control)
{
	struct v4l2_ctrl *ctrl = control->ctrl;
	s64 value = 0;
	int ret;

	if (ctrl->is_string)
		return pinhole_control_call(control, VIDIOC_G_EXT_CTRLS, NULL,
					    ctrl->p_new.p_char);

	ret = pinhole_control_call(control, VIDIOC_G_EXT_CTRLS, &value, NULL);
	if (ret)
		return ret;
	if (!pinhole_value_good(ctrl, value))
		return pinhole_nonsense(control->dev, VIDIOC_G_EXT_CTRLS);
	if (ctrl->type == V4L2_CTRL_TYPE_INTEGER64)
		*ctrl->p_new.p_s64 = value;
	else
		ctrl->val = value;
	return 0;
}

/**
 * pinhole_g_volatile_ctrl() - somebody asks for a value that changes by itself
 * @ctrl: control
 *
 * Context: Process context; the handler's lock is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_g_volatile_ctrl(struct v4l2_ctrl *ctrl)
{
	return pinhole_control_get(ctrl->priv);
}

/**
 * pinhole_s_ctrl() - somebody sets a control
 * @ctrl: control
 *
 * The card may take another value than it was told. A value that came from the
 * card is not sent back to it.
 *
 * Context: Process context; the handler's lock is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_s_ctrl(struct v4l2_ctrl *ctrl)
{
	struct pinhole_control *control = ctrl->priv;
	s64 value;
	int ret;

	if (control->from_card)
		return 0;
	if (ctrl->is_string)
		return pinhole_control_call(control, VIDIOC_S_EXT_CTRLS, NULL,
					    ctrl->p_new.p_char);

	value = ctrl->type == V4L2_CTRL_TYPE_INTEGER64 ? *ctrl->p_new.p_s64 :
							 ctrl->val;
	ret = pinhole_control_call(control, VIDIOC_S_EXT_CTRLS, &value, NULL);
	if (ret || ctrl->type == V4L2_CTRL_TYPE_BUTTON)
		return ret;
	if (!pinhole_value_good(ctrl, value))
		return pinhole_nonsense(control->dev, VIDIOC_S_EXT_CTRLS);
	if (ctrl->type == V4L2_CTRL_TYPE_INTEGER64)
		*ctrl->p_new.p_s64 = value;
	else
		ctrl->val = value;
	return 0;
}

const struct v4l2_ctrl_ops pinhole_control_ops = {
	.g_volatile_ctrl = pinhole_g_volatile_ctrl,
	.s_ctrl = pinhole_s_ctrl,
};

/**
 * pinhole_control_take_value() - take over a control's value from the card
 * @control: control
 *
 * The framework tells whoever has subscribed to the control if it has changed.
 * Of a volatile control it keeps no value, and tells nobody. A button has none:
 * that it was pushed is all there is to tell.
 *
 * Context: Process context; the handler's lock is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_control_take_value(struct pinhole_control *control)
{
	struct v4l2_ctrl *ctrl = control->ctrl;
	char *string;
	int ret;

	if (control->type == V4L2_CTRL_TYPE_BUTTON)
		return __v4l2_ctrl_s_ctrl(ctrl, 0);
	if (ctrl->flags & (V4L2_CTRL_FLAG_VOLATILE | V4L2_CTRL_FLAG_WRITE_ONLY))
		return 0;

	if (ctrl->is_string) {
		string = kzalloc(ctrl->maximum + 1, GFP_KERNEL);
		if (!string)
			return -ENOMEM;
		ret = pinhole_control_call(control, VIDIOC_G_EXT_CTRLS, NULL,
					   string);
		if (!ret)
			ret = __v4l2_ctrl_s_ctrl_string(ctrl, string);
		kfree(string);
		return ret;
	}

	ret = pinhole_control_get(control);
	if (ret)
		return ret;
	if (control->type == V4L2_CTRL_TYPE_INTEGER64)
		return __v4l2_ctrl_s_ctrl_int64(ctrl, *ctrl->p_new.p_s64);
	return __v4l2_ctrl_s_ctrl(ctrl, ctrl->val);
}

/**
 * pinhole_control_take_state() - take over a control's flags and range
 * @control: control
 *
 * Context: Process context; the handler's lock is held. Waits for the card.
 * Return: 0 or a negative errno.
 */
static int pinhole_control_take_state(struct pinhole_control *control)
{
	struct v4l2_query_ext_ctrl q = { .id = control->id };
	struct v4l2_ctrl *ctrl = control->ctrl;
	int ret;

	ret = pinhole_ioctl(control->dev, VIDIOC_QUERY_EXT_CTRL, &q);
	if (ret)
		return ret;
	if (q.id != control->id || q.type != control->type ||
	    !pinhole_range_good(&q))
		return pinhole_nonsense(control->dev, VIDIOC_QUERY_EXT_CTRL);

	v4l2_ctrl_activate(ctrl, !(q.flags & V4L2_CTRL_FLAG_INACTIVE));

	if (q.type != V4L2_CTRL_TYPE_INTEGER &&
	    q.type != V4L2_CTRL_TYPE_INTEGER64)
		return 0;
	if (q.minimum == ctrl->minimum && q.maximum == ctrl->maximum &&
	    q.step == ctrl->step && q.default_value == ctrl->default_value)
		return 0;
	return __v4l2_ctrl_modify_range(ctrl, q.minimum, q.maximum, q.step,
					q.default_value);
}

/**
 * pinhole_control_update() - take over a change that the card has reported
 * @control: control
 * @changes: V4L2_EVENT_CTRL_CH_*
 *
 * What fails for want of memory is tried again later.
 *
 * Context: Process context. Takes the handler's lock, and the device's; waits
 * for the card.
 * Return: Nothing.
 */
static void pinhole_control_update(struct pinhole_control *control,
				   u32 changes)
{
	struct pinhole_device *dev = control->dev;
	unsigned long flags;
	int ret = 0;

	v4l2_ctrl_lock(control->ctrl);
	control->from_card = true;
	if (changes & (V4L2_EVENT_CTRL_CH_FLAGS | V4L2_EVENT_CTRL_CH_RANGE))
		ret = pinhole_control_take_state(control);
	if (!ret && changes & V4L2_EVENT_CTRL_CH_VALUE)
		ret = pinhole_control_take_value(control);
	control->from_card = false;
	v4l2_ctrl_unlock(control->ctrl);

	/* A grabbed control follows when it is let go. */
	if (ret == -EBUSY && control->ctrl->flags & V4L2_CTRL_FLAG_GRABBED) {
		spin_lock_irqsave(&dev->lock, flags);
		control->stale |= changes;
		spin_unlock_irqrestore(&dev->lock, flags);
	} else if (ret == -ENOMEM) {
		spin_lock_irqsave(&dev->lock, flags);
		control->changes |= changes;
		if (!dev->fault)
			schedule_delayed_work(&dev->control_work,
					      PINHOLE_RETRY);
		spin_unlock_irqrestore(&dev->lock, flags);
	} else if (ret && !READ_ONCE(dev->fault)) {
		dev_warn_ratelimited(&dev->vdev->dev,
				     "control 0x%08x cannot follow the card: error %d\n",
				     control->id, ret);
	}
}

/**
 * pinhole_control_work() - take over what the card has reported
 * @work: the device's control_work
 *
 * Context: Workqueue. Waits for the card.
 * Return: Nothing.
 */
void pinhole_control_work(struct work_struct *work)
{
	struct pinhole_device *dev = container_of(to_delayed_work(work),
						  struct pinhole_device,
						  control_work);
	struct pinhole_control *control;
	unsigned long flags;
	u32 changes;

	list_for_each_entry(control, &dev->controls, node) {
		spin_lock_irqsave(&dev->lock, flags);
		changes = control->changes;
		control->changes = 0;
		spin_unlock_irqrestore(&dev->lock, flags);
		if (changes)
			pinhole_control_update(control, changes);
	}
}

/**
 * pinhole_control_event() - the card reports that a control has changed
 * @dev: device
 * @id: control
 * @changes: V4L2_EVENT_CTRL_CH_*
 *
 * The event says what changed; the value is asked for later, when it is the
 * present one. However many events there are, they take no memory.
 *
 * Context: Any; the device's lock is held.
 * Return: False if there is no such control.
 */
bool pinhole_control_event(struct pinhole_device *dev, u32 id, u32 changes)
{
	struct pinhole_control *control;

	list_for_each_entry(control, &dev->controls, node) {
		if (control->id != id)
			continue;
		control->changes |= changes;
		if (!dev->fault)
			mod_delayed_work(system_wq, &dev->control_work, 0);
		return true;
	}
	return false;
}

/**
 * pinhole_control_stale() - a control was let go, and can follow the card again
 * @dev: device
 * @control: control
 *
 * Context: Process context. Takes the device's lock.
 */
void pinhole_control_stale(struct pinhole_device *dev,
			   struct pinhole_control *control)
{
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	if (control->stale) {
		control->changes |= control->stale;
		control->stale = 0;
		if (!dev->fault)
			mod_delayed_work(system_wq, &dev->control_work, 0);
	}
	spin_unlock_irqrestore(&dev->lock, flags);
}

/**
 * pinhole_controls_stale() - all values may have changed
 * @dev: device
 *
 * Context: Process context. Takes the device's lock.
 * Return: Nothing.
 */
void pinhole_controls_stale(struct pinhole_device *dev)
{
	struct pinhole_control *control;
	unsigned long flags;

	spin_lock_irqsave(&dev->lock, flags);
	list_for_each_entry(control, &dev->controls, node)
		if (control->type != V4L2_CTRL_TYPE_BUTTON &&
		    control->type != V4L2_CTRL_TYPE_CTRL_CLASS)
			control->changes |= V4L2_EVENT_CTRL_CH_VALUE;
	if (!dev->fault)
		mod_delayed_work(system_wq, &dev->control_work, 0);
	spin_unlock_irqrestore(&dev->lock, flags);
}
