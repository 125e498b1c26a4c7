// SPDX-License-Identifier: GPL-2.0
/*
 * The driver's pure functions, compiled for this machine: the folder kernel/ has
 * as much of the kernel's headers as they need.
 */
#include "units.h"

int main(void)
{
	segments_units();
	clock_units();
	range_units();
	return 0;
}
