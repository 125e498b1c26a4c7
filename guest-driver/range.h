/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What ranges and values of controls there can be.
 */
#ifndef PINHOLE_RANGE_H
#define PINHOLE_RANGE_H

#include <linux/types.h>
#include <linux/videodev2.h>
#include <media/v4l2-ctrls.h>

/* Controls with longer menus and strings than this are left out. */
#define PINHOLE_MAX_MENU 64
#define PINHOLE_MAX_STRING 4095

bool pinhole_range_good(const struct v4l2_query_ext_ctrl *q);
bool pinhole_value_good(const struct v4l2_ctrl *ctrl, s64 value);

#endif /* PINHOLE_RANGE_H */
