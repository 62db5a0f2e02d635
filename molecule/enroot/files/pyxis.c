/* Stands in for pyxis: a SPANK plugin that has its option --container-image and lets the program "enroot" start the task. */
#include <slurm/spank.h>
#include <string.h>
#include <unistd.h>

#ifdef FOR_SLURM_23_11
#undef SLURM_VERSION_NUMBER
#define SLURM_VERSION_NUMBER SLURM_VERSION_NUM(23, 11, 0)
#endif
SPANK_PLUGIN(pyxis, 1)

static const char *image;

static int take_image(int val, const char *optarg, int remote)
{
	(void)val;
	(void)remote;
	image = strdup(optarg);
	return image ? 0 : -1;
}

int slurm_spank_init(spank_t sp, int ac, char **av)
{
	static struct spank_option option = {
		"container-image", "PATH", "Run the task in a squashfs image.", 1, 0, take_image,
	};
	(void)ac;
	(void)av;
	return spank_option_register(sp, &option);
}

/* In the task, as the user, before its program. */
int slurm_spank_task_init(spank_t sp, int ac, char **av)
{
	int argc;
	char **argv, **env;
	(void)ac;
	(void)av;
	if (!image)
		return 0;
	if (spank_get_item(sp, S_JOB_ARGV, &argc, &argv) || spank_get_item(sp, S_JOB_ENV, &env))
		return -1;
	char *start[argc + 4];
	start[0] = "enroot";
	start[1] = "start";
	start[2] = (char *)image;
	memcpy(start + 3, argv, (argc + 1) * sizeof(*argv));
	execve("/usr/bin/enroot", start, env);
	slurm_error("pyxis: cannot run /usr/bin/enroot: %m");
	return -1;
}
