#pragma once
#include <linux/videodev2.h>

struct v4l2_ctrl {
	enum v4l2_ctrl_type type;
	s64 minimum, maximum;
	u64 menu_skip_mask;
	const char * const *qmenu;
};
