// SPDX-License-Identifier: GPL-2.0
/*
 * What ranges and values of controls there can be.
 */
#include <linux/bits.h>
#include <linux/limits.h>

#include "range.h"

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

/* Whether a value is one that a control can have. */
bool pinhole_value_good(const struct v4l2_ctrl *ctrl, s64 value)
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
