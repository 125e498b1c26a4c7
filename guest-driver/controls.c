// SPDX-License-Identifier: GPL-2.0
/*
 * The controls: what the device has, made known to the V4L2 control framework.
 *
 * Names, ranges and menus are the device's, and none is taken on trust: the
 * framework divides by steps and looks up menus without asking whether they
 * make sense. A control that does not is left out.
 */
#include <linux/slab.h>
#include <linux/string.h>

#include "pinhole.h"

/* Flags that come from the device; the others the framework sees to itself. */
#define PINHOLE_CONTROL_FLAGS						\
	(V4L2_CTRL_FLAG_READ_ONLY | V4L2_CTRL_FLAG_WRITE_ONLY |		\
	 V4L2_CTRL_FLAG_UPDATE | V4L2_CTRL_FLAG_INACTIVE |		\
	 V4L2_CTRL_FLAG_SLIDER | V4L2_CTRL_FLAG_VOLATILE |		\
	 V4L2_CTRL_FLAG_EXECUTE_ON_WRITE | V4L2_CTRL_FLAG_MODIFY_LAYOUT)

static void pinhole_control_free(struct pinhole_control *control)
{
	kfree(control->menu);
	kfree(control);
}

/* Makes the menu of a control; -ERANGE if it makes no sense. */
static int pinhole_control_menu(struct pinhole_control *control,
				const struct v4l2_query_ext_ctrl *q,
				struct v4l2_ctrl_config *cfg)
{
	struct pinhole_menu *menu;
	unsigned int i;

	menu = kzalloc(sizeof(*menu), GFP_KERNEL);
	if (!menu)
		return -ENOMEM;
	control->menu = menu;
	for (i = 0; i < PINHOLE_MAX_MENU; i++)
		menu->items[i] = menu->names[i];
	if (q->type == V4L2_CTRL_TYPE_INTEGER_MENU)
		cfg->qmenu_int = menu->values;
	else
		cfg->qmenu = menu->items;
	return pinhole_menu_query(control->ctx, q, menu, &cfg->menu_skip_mask);
}

/* Makes a control known to the framework; -ERANGE if it makes no sense. */
static int pinhole_control_add(struct pinhole_context *ctx,
			       const struct v4l2_query_ext_ctrl *q)
{
	struct v4l2_ctrl_config cfg = {
		.ops = &pinhole_control_ops,
		.id = q->id,
		.type = q->type,
		.flags = q->flags & PINHOLE_CONTROL_FLAGS,
	};
	struct pinhole_control *control;
	int ret = -ERANGE;

	if (!q->name[0] || !pinhole_range_good(q))
		return -ERANGE;
	control = kzalloc(sizeof(*control), GFP_KERNEL);
	if (!control)
		return -ENOMEM;
	control->ctx = ctx;
	control->id = q->id;
	control->type = q->type;
	strscpy(control->name, q->name, sizeof(control->name));
	cfg.name = control->name;

	switch (q->type) {
	case V4L2_CTRL_TYPE_MENU:
	case V4L2_CTRL_TYPE_INTEGER_MENU:
		cfg.min = q->minimum;
		cfg.max = q->maximum;
		cfg.def = q->default_value;
		ret = pinhole_control_menu(control, q, &cfg);
		if (ret)
			goto err_free;
		break;
	case V4L2_CTRL_TYPE_BITMASK:
		cfg.max = q->maximum;
		cfg.def = q->default_value;
		break;
	case V4L2_CTRL_TYPE_STRING:
		cfg.min = q->minimum;
		cfg.max = q->maximum;
		cfg.step = q->step;
		break;
	case V4L2_CTRL_TYPE_BUTTON:
	case V4L2_CTRL_TYPE_CTRL_CLASS:
		break;
	default:
		cfg.min = q->minimum;
		cfg.max = q->maximum;
		cfg.step = q->type == V4L2_CTRL_TYPE_BOOLEAN ? 1 : q->step;
		cfg.def = q->default_value;
		break;
	}

	control->ctrl = v4l2_ctrl_new_custom(&ctx->controls.handler, &cfg, control);
	if (!control->ctrl) {
		/* The others are not to suffer for it. */
		ret = ctx->controls.handler.error;
		ctx->controls.handler.error = 0;
		goto err_free;
	}
	mutex_lock(&ctx->dev->commands.mutex);
	spin_lock_irq(&ctx->controls.lock);
	list_add_tail(&control->node, &ctx->controls.list);
	spin_unlock_irq(&ctx->controls.lock);
	mutex_unlock(&ctx->dev->commands.mutex);
	return 0;

err_free:
	pinhole_control_free(control);
	return ret;
}

/*
 * The framework makes the class controls that V4L2 defines by itself. A class of
 * the device's own needs one, too, and the device may not have it.
 */
static int pinhole_control_class(struct pinhole_context *ctx, u32 id)
{
	struct v4l2_query_ext_ctrl q = {
		.id = V4L2_CTRL_ID2WHICH(id) | 1,
		.type = V4L2_CTRL_TYPE_CTRL_CLASS,
		.flags = V4L2_CTRL_FLAG_READ_ONLY | V4L2_CTRL_FLAG_WRITE_ONLY,
	};

	if (id == q.id || v4l2_ctrl_get_name(q.id) ||
	    v4l2_ctrl_find(&ctx->controls.handler, q.id))
		return 0;
	snprintf(q.name, sizeof(q.name), "Controls of Class 0x%08lx",
		 V4L2_CTRL_ID2WHICH(id));
	return pinhole_control_add(ctx, &q);
}

/* Asks the device for its controls. */
static int pinhole_controls_query(struct pinhole_context *ctx)
{
	struct pinhole_device *dev = ctx->dev;
	/* The same holds for every file that is opened later. */
	const bool told = ctx != &dev->context;
	unsigned int count, compound = 0;
	u32 id = 0;
	int ret;

	for (count = 0;; count++) {
		struct v4l2_query_ext_ctrl q = {
			.id = id | V4L2_CTRL_FLAG_NEXT_CTRL |
			      V4L2_CTRL_FLAG_NEXT_COMPOUND,
		};

		ret = pinhole_ioctl(ctx, VIDIOC_QUERY_EXT_CTRL, &q);
		if (pinhole_is_local(ret))
			return ret;
		if (ret)
			break;
		if (q.id <= id || q.id >= V4L2_CID_PRIVATE_BASE) {
			pinhole_nonsense(dev, VIDIOC_QUERY_EXT_CTRL);
			break;
		}
		if (count == PINHOLE_MAX_CONTROLS) {
			if (!told)
				dev_warn(&dev->vdev->dev,
					 "more than %u controls: the rest are ignored\n",
					 count);
			break;
		}
		id = q.id;
		if (q.flags & V4L2_CTRL_FLAG_DISABLED)
			continue;
		if (q.type >= V4L2_CTRL_COMPOUND_TYPES || q.nr_of_dims) {
			compound++;
			continue;
		}
		q.name[sizeof(q.name) - 1] = '\0';
		ret = pinhole_control_class(ctx, id);
		if (!ret)
			ret = pinhole_control_add(ctx, &q);
		if (pinhole_is_local(ret))
			return ret;
		if (ret && !told)
			dev_warn(&dev->vdev->dev,
				 "control 0x%08x is invalid (%d): ignored\n",
				 id, ret);
	}
	if (compound && !told)
		dev_info(&dev->vdev->dev,
			 "%u compound and array controls are not supported: ignored\n",
			 compound);
	return 0;
}

/*
 * Whether a control can be set together with others: the framework counts one
 * that is executed on write as changed whenever its cluster is set, and asks for
 * all volatile ones of a cluster at once.
 */
static bool pinhole_control_is_ordinary(const struct pinhole_control *control)
{
	return control->type != V4L2_CTRL_TYPE_BUTTON &&
	       control->type != V4L2_CTRL_TYPE_CTRL_CLASS &&
	       !(control->ctrl->flags & (V4L2_CTRL_FLAG_VOLATILE |
					 V4L2_CTRL_FLAG_EXECUTE_ON_WRITE));
}

/* Has the framework set together what can be: all in one ioctl to the device. */
static void pinhole_controls_cluster(struct pinhole_context *ctx)
{
	struct pinhole_controls *controls = &ctx->controls;
	struct pinhole_control *control;
	unsigned int count = 0;

	mutex_lock(controls->handler.lock);
	list_for_each_entry(control, &controls->list, node)
		if (pinhole_control_is_ordinary(control) &&
		    count < ARRAY_SIZE(controls->cluster))
			controls->cluster[count++] = control->ctrl;
	if (count)
		v4l2_ctrl_cluster(count, controls->cluster);
	mutex_unlock(controls->handler.lock);
}

/*
 * Takes over the device's controls. The values, too, are the device's: it is not
 * set to the framework's defaults. Subscriptions come before values, so that no
 * change is missed. Waits for the device.
 */
int pinhole_controls_probe(struct pinhole_context *ctx)
{
	int ret;

	ret = v4l2_ctrl_handler_init(&ctx->controls.handler, 32);
	if (ret)
		return ret;
	ret = pinhole_controls_query(ctx);
	if (ret)
		return ret;
	pinhole_controls_cluster(ctx);

	mutex_lock(&ctx->dev->commands.mutex);
	ret = pinhole_session_fault(ctx);
	if (!ret)
		ret = pinhole_session_renewed(ctx);
	mutex_unlock(&ctx->dev->commands.mutex);
	if (ret)
		return ret;
	flush_delayed_work(&ctx->controls.work);
	return pinhole_session_fault(ctx);
}

/**
 * pinhole_controls_grab() - take hold of the controls that a format depends on
 * @ctx: context
 * @grabbed: there are buffers, which are made for the format as it is
 *
 * What the device changes by itself meanwhile is taken over afterwards.
 */
void pinhole_controls_grab(struct pinhole_context *ctx, bool grabbed)
{
	struct pinhole_control *control;

	lockdep_assert_held(&ctx->queue_mutex);
	list_for_each_entry(control, &ctx->controls.list, node) {
		if (!(control->ctrl->flags & V4L2_CTRL_FLAG_MODIFY_LAYOUT))
			continue;
		v4l2_ctrl_grab(control->ctrl, grabbed);
		if (!grabbed)
			pinhole_control_stale(control);
	}
}

void pinhole_controls_init(struct pinhole_context *ctx)
{
	spin_lock_init(&ctx->controls.lock);
	INIT_LIST_HEAD(&ctx->controls.list);
	INIT_DELAYED_WORK(&ctx->controls.work, pinhole_control_work);
}

/* Nobody uses the controls any more. */
void pinhole_controls_exit(struct pinhole_context *ctx)
{
	struct pinhole_control *control, *tmp;

	cancel_delayed_work_sync(&ctx->controls.work);
	v4l2_ctrl_handler_free(&ctx->controls.handler);
	list_for_each_entry_safe(control, tmp, &ctx->controls.list, node)
		pinhole_control_free(control);
}
