// SPDX-License-Identifier: GPL-2.0
/*
 * The ranges of the controls: what values and what items of menus there are, and
 * what becomes of them when the device changes them.
 */
#include <linux/slab.h>
#include <linux/string.h>

#include "pinhole.h"

/*
 * Asks the device for the items of a menu; -ERANGE if they make no sense, or the
 * default is none of them. What items of an integer menu are missing is for
 * @skip: an item of another menu that has no name is none to the framework.
 */
int pinhole_menu_query(struct pinhole_context *ctx,
		       const struct v4l2_query_ext_ctrl *q,
		       struct pinhole_menu *menu, u64 *skip)
{
	bool numbers = q->type == V4L2_CTRL_TYPE_INTEGER_MENU;
	u32 i;
	int ret;

	*skip = 0;
	for (i = q->minimum; i <= q->maximum; i++) {
		struct v4l2_querymenu item = { .id = q->id, .index = i };

		ret = pinhole_ioctl(ctx, VIDIOC_QUERYMENU, &item);
		if (ret == -EINVAL) {
			if (i == q->default_value)
				return -ERANGE;
			if (numbers)
				*skip |= BIT_ULL(i);
			continue;
		}
		if (ret)
			return ret;
		if (item.id != q->id || item.index != i)
			return -ERANGE;
		if (numbers) {
			menu->values[i] = item.value;
			continue;
		}
		strscpy(menu->names[i], item.name, sizeof(menu->names[i]));
		if (!menu->names[i][0])
			return -ERANGE;
	}
	return 0;
}

/* Tells who has subscribed to a control of a range that the framework left alone. */
static void pinhole_range_tell(struct pinhole_control *control)
{
	const struct v4l2_ctrl *ctrl = control->ctrl;
	struct v4l2_event ev = {
		.type = V4L2_EVENT_CTRL,
		.id = ctrl->id,
		.u.ctrl = {
			.changes = V4L2_EVENT_CTRL_CH_RANGE,
			.type = ctrl->type,
			.flags = ctrl->flags,
			.minimum = ctrl->minimum,
			.maximum = ctrl->maximum,
			.step = 1,
			.default_value = ctrl->default_value,
		},
	};

	if (ctrl->is_string) {
		ev.u.ctrl.flags |= V4L2_CTRL_FLAG_HAS_PAYLOAD;
		ev.u.ctrl.step = ctrl->step;
	} else {
		ev.u.ctrl.value = ctrl->cur.val;
	}
	pinhole_tell(control->ctx, &ev);
}

/*
 * Takes over the items of a menu, and the range with them. Applications read the
 * items without a lock, and may find some of before and some of now until they
 * are told that there are others: but always a string that ends.
 */
static int pinhole_menu_follow(struct pinhole_control *control,
			       const struct v4l2_query_ext_ctrl *q)
{
	struct v4l2_ctrl *ctrl = control->ctrl;
	struct pinhole_menu *menu;
	bool same;
	u64 skip;
	int ret;

	menu = kzalloc(sizeof(*menu), GFP_KERNEL);
	if (!menu)
		return -ENOMEM;
	ret = pinhole_menu_query(control->ctx, q, menu, &skip);
	if (ret)
		goto out;

	same = q->minimum == ctrl->minimum && q->maximum == ctrl->maximum &&
	       q->default_value == ctrl->default_value &&
	       skip == ctrl->menu_skip_mask;
	if (same && !memcmp(menu->names, control->menu->names,
			    sizeof(menu->names)) &&
	    !memcmp(menu->values, control->menu->values, sizeof(menu->values)))
		goto out;
	memcpy(control->menu->names, menu->names, sizeof(menu->names));
	memcpy(control->menu->values, menu->values, sizeof(menu->values));
	if (same)
		pinhole_range_tell(control);
	else
		ret = __v4l2_ctrl_modify_range(ctrl, q->minimum, q->maximum,
					       skip, q->default_value);
out:
	kfree(menu);
	return ret;
}

/*
 * The framework changes no range of a string. There is room for one of the length
 * that it had when the control was made; the value is taken over afterwards.
 */
static int pinhole_string_follow(struct pinhole_control *control,
				 const struct v4l2_query_ext_ctrl *q)
{
	struct v4l2_ctrl *ctrl = control->ctrl;

	if (q->minimum == ctrl->minimum && q->maximum == ctrl->maximum &&
	    q->step == ctrl->step)
		return 0;
	if (q->maximum >= ctrl->elem_size)
		return -ERANGE;
	ctrl->minimum = q->minimum;
	ctrl->maximum = q->maximum;
	ctrl->step = q->step;
	pinhole_range_tell(control);
	return 0;
}

/**
 * pinhole_range_follow() - take over a control's flags and range
 * @control: the control; its handler's lock is held
 *
 * A value that the new range does not have is the default until the device was
 * asked for another.
 *
 * Context: Process context. Waits for the device.
 * Return: 0 or a negative errno: -EBUSY while the control is grabbed, -ERANGE if
 * the framework cannot take it over.
 */
int pinhole_range_follow(struct pinhole_control *control)
{
	struct v4l2_query_ext_ctrl q = { .id = control->id };
	struct v4l2_ctrl *ctrl = control->ctrl;
	int ret;

	ret = pinhole_ioctl(control->ctx, VIDIOC_QUERY_EXT_CTRL, &q);
	if (ret)
		return ret;
	if (q.id != control->id || q.type != control->type ||
	    !pinhole_range_good(&q))
		return pinhole_nonsense(control->ctx->dev, VIDIOC_QUERY_EXT_CTRL);

	v4l2_ctrl_activate(ctrl, !(q.flags & V4L2_CTRL_FLAG_INACTIVE));
	if (ctrl->flags & V4L2_CTRL_FLAG_GRABBED)
		return -EBUSY;

	switch (q.type) {
	case V4L2_CTRL_TYPE_BUTTON:
	case V4L2_CTRL_TYPE_CTRL_CLASS:
		return 0;
	case V4L2_CTRL_TYPE_MENU:
	case V4L2_CTRL_TYPE_INTEGER_MENU:
		return pinhole_menu_follow(control, &q);
	case V4L2_CTRL_TYPE_STRING:
		return pinhole_string_follow(control, &q);
	case V4L2_CTRL_TYPE_BITMASK:
		return __v4l2_ctrl_modify_range(ctrl, 0, q.maximum, 0,
						q.default_value);
	case V4L2_CTRL_TYPE_BOOLEAN:
		return __v4l2_ctrl_modify_range(ctrl, q.minimum, q.maximum, 1,
						q.default_value);
	default:
		return __v4l2_ctrl_modify_range(ctrl, q.minimum, q.maximum,
						q.step, q.default_value);
	}
}
