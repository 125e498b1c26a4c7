// SPDX-License-Identifier: GPL-2.0
/*
 * The values of the controls, between the control framework and the device.
 *
 * The framework's handler lock is held while the device is asked or told, so that
 * a value that comes from the device and one that goes there do not cross.
 */
#include <linux/slab.h>
#include <linux/string.h>

#include "pinhole.h"

/* Whether the control framework can work with the range of a control. */
bool pinhole_range_good(const struct v4l2_query_ext_ctrl *q)
{
	bool ordered = q->minimum <= q->default_value &&
		       q->default_value <= q->maximum;

	switch (q->type) {
	case V4L2_CTRL_TYPE_INTEGER:
		return ordered && q->minimum >= S32_MIN &&
		       q->maximum <= S32_MAX && q->step && q->step <= S32_MAX;
	case V4L2_CTRL_TYPE_INTEGER64:
		return ordered && q->step && q->step <= S32_MAX;
	case V4L2_CTRL_TYPE_BOOLEAN:
		return ordered && q->minimum >= 0 && q->maximum <= 1;
	case V4L2_CTRL_TYPE_MENU:
	case V4L2_CTRL_TYPE_INTEGER_MENU:
		return ordered && q->minimum >= 0 &&
		       q->maximum < PINHOLE_MAX_MENU;
	case V4L2_CTRL_TYPE_BITMASK:
		return q->maximum > 0 && q->maximum <= U32_MAX &&
		       !(q->default_value & ~q->maximum);
	case V4L2_CTRL_TYPE_STRING:
		return q->minimum >= 0 && q->minimum <= q->maximum &&
		       q->maximum <= PINHOLE_MAX_STRING &&
		       q->step && q->step <= S32_MAX;
	case V4L2_CTRL_TYPE_BUTTON:
	case V4L2_CTRL_TYPE_CTRL_CLASS:
		return true;
	default:
		return false;
	}
}

/**
 * struct pinhole_control_call - G_EXT_CTRLS or S_EXT_CTRLS of one control
 * @ctrls: the ioctl's payload
 * @ctrl: the one control
 */
struct pinhole_control_call {
	struct v4l2_ext_controls ctrls;
	struct v4l2_ext_control ctrl;
} __packed;

/*
 * Asks the device for a value, or tells it. A string has room for the longest and
 * a NUL.
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
		/* The device may have taken it all the same. */
		pinhole_control_event(control->dev, control->id,
				      V4L2_EVENT_CTRL_CH_VALUE);
	}
	if (ret)
		return ret;
	if (cmd == VIDIOC_S_EXT_CTRLS)
		control->was_set = true;
	if (payload.ctrl.id != control->id)
		return pinhole_nonsense(control->dev, cmd);
	if (string)
		string[control->ctrl->maximum] = '\0';
	else
		*value = wide ? payload.ctrl.value64 : payload.ctrl.value;
	return 0;
}

/* Whether a value is one that a control can have. */
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

/* Asks the device for the value of a control: the framework's new one. */
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

/* Somebody asks for a value that changes by itself. */
static int pinhole_g_volatile_ctrl(struct v4l2_ctrl *ctrl)
{
	return pinhole_control_get(ctrl->priv);
}

/*
 * The device may take another value than it was told. A value that came from the
 * device is not sent back to it.
 */
static int pinhole_s_ctrl(struct v4l2_ctrl *ctrl)
{
	struct pinhole_control *control = ctrl->priv;
	s64 value;
	int ret;

	if (control->from_device) {
		control->was_set = false;
		return 0;
	}
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

/*
 * The framework tells whoever has subscribed to the control if it has changed.
 * Of a volatile control it keeps no value, and tells nobody. A button has none:
 * that it was pushed is all there is to tell.
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

/*
 * Tells the device once more what an application has told it; what becomes of it
 * is taken over afterwards. What is not a state is not told again.
 */
static int pinhole_control_restore(struct pinhole_control *control)
{
	struct v4l2_ctrl *ctrl = control->ctrl;
	s64 value;

	if (!control->was_set || control->type == V4L2_CTRL_TYPE_BUTTON ||
	    ctrl->flags & (V4L2_CTRL_FLAG_VOLATILE | V4L2_CTRL_FLAG_WRITE_ONLY |
			   V4L2_CTRL_FLAG_EXECUTE_ON_WRITE))
		return 0;
	if (ctrl->is_string)
		return pinhole_control_call(control, VIDIOC_S_EXT_CTRLS, NULL,
					    ctrl->p_cur.p_char);
	value = ctrl->type == V4L2_CTRL_TYPE_INTEGER64 ? *ctrl->p_cur.p_s64 :
							 ctrl->cur.val;
	return pinhole_control_call(control, VIDIOC_S_EXT_CTRLS, &value, NULL);
}

/* Take over a control's flags and range. */
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

/* What fails for want of memory is tried again later. */
static void pinhole_control_update(struct pinhole_control *control,
				   u32 changes)
{
	struct pinhole_device *dev = control->dev;
	unsigned long flags;
	int ret = 0;

	v4l2_ctrl_lock(control->ctrl);
	if (changes & PINHOLE_CTRL_RESTORE)
		ret = pinhole_control_restore(control);
	/* What the device refuses is as if it had changed it. */
	if (!pinhole_is_local(ret) && !pinhole_fault(dev))
		ret = 0;
	control->from_device = true;
	if (!ret && changes & (V4L2_EVENT_CTRL_CH_FLAGS | V4L2_EVENT_CTRL_CH_RANGE))
		ret = pinhole_control_take_state(control);
	if (!ret && changes & V4L2_EVENT_CTRL_CH_VALUE)
		ret = pinhole_control_take_value(control);
	control->from_device = false;
	v4l2_ctrl_unlock(control->ctrl);

	/* A grabbed control follows when it is let go. */
	if (ret == -EBUSY && control->ctrl->flags & V4L2_CTRL_FLAG_GRABBED) {
		spin_lock_irqsave(&dev->controls.lock, flags);
		control->stale |= changes;
		spin_unlock_irqrestore(&dev->controls.lock, flags);
	} else if (ret == -ENOMEM) {
		spin_lock_irqsave(&dev->controls.lock, flags);
		control->changes |= changes;
		if (!pinhole_fault(dev))
			schedule_delayed_work(&dev->controls.work,
					      PINHOLE_RETRY);
		spin_unlock_irqrestore(&dev->controls.lock, flags);
	} else if (ret && !pinhole_fault(dev)) {
		dev_warn_ratelimited(&dev->vdev->dev,
				     "control 0x%08x cannot follow the device: error %d\n",
				     control->id, ret);
	}
}

/* Takes over what the device has reported. */
void pinhole_control_work(struct work_struct *work)
{
	struct pinhole_device *dev = container_of(to_delayed_work(work),
						  struct pinhole_device,
						  controls.work);
	struct pinhole_control *control;
	unsigned long flags;
	u32 changes;

	list_for_each_entry(control, &dev->controls.list, node) {
		spin_lock_irqsave(&dev->controls.lock, flags);
		changes = control->changes;
		control->changes = 0;
		spin_unlock_irqrestore(&dev->controls.lock, flags);
		if (changes)
			pinhole_control_update(control, changes);
	}
}

/*
 * The device reports that a control has changed; false if there is no such one.
 * The event says what changed; the value is asked for later, when it is the
 * present one. However many events there are, they take no memory.
 */
bool pinhole_control_event(struct pinhole_device *dev, u32 id, u32 changes)
{
	struct pinhole_control *control;
	unsigned long flags;
	bool found = false;

	spin_lock_irqsave(&dev->controls.lock, flags);
	list_for_each_entry(control, &dev->controls.list, node) {
		if (control->id != id)
			continue;
		control->changes |= changes;
		found = true;
		break;
	}
	spin_unlock_irqrestore(&dev->controls.lock, flags);
	if (found && !pinhole_fault(dev))
		mod_delayed_work(system_wq, &dev->controls.work, 0);
	return found;
}

/* A control was let go, and can follow the device again. */
void pinhole_control_stale(struct pinhole_device *dev,
			   struct pinhole_control *control)
{
	unsigned long flags;

	spin_lock_irqsave(&dev->controls.lock, flags);
	if (control->stale) {
		control->changes |= control->stale;
		control->stale = 0;
		if (!pinhole_fault(dev))
			mod_delayed_work(system_wq, &dev->controls.work, 0);
	}
	spin_unlock_irqrestore(&dev->controls.lock, flags);
}

/* All values may have changed, or the device has forgotten those that it had. */
void pinhole_controls_stale(struct pinhole_device *dev, bool forgotten)
{
	u32 changes = V4L2_EVENT_CTRL_CH_VALUE;
	struct pinhole_control *control;
	unsigned long flags;

	if (forgotten)
		changes |= PINHOLE_CTRL_RESTORE;
	spin_lock_irqsave(&dev->controls.lock, flags);
	list_for_each_entry(control, &dev->controls.list, node)
		if (control->type != V4L2_CTRL_TYPE_BUTTON &&
		    control->type != V4L2_CTRL_TYPE_CTRL_CLASS)
			control->changes |= changes;
	if (!pinhole_fault(dev))
		mod_delayed_work(system_wq, &dev->controls.work, 0);
	spin_unlock_irqrestore(&dev->controls.lock, flags);
}
