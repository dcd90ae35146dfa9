/* A Vulkan driver that crashes when it is given a kernel: another driver, DRIVER, with a segmentation fault where compute
 * pipelines are made. Everything before that, which is all that looking for devices needs, goes through. */
#include <dlfcn.h>
#include <string.h>

typedef void (*function)(void);
typedef function (*lookup)(void *, const char *);

static lookup device_function;

static int crash(void) {
    volatile int *volatile nowhere = 0;
    *nowhere = 1;
    return -1;
}

static void *driver(const char *name) {
    static void *library;
    if (!library) library = dlopen(DRIVER, RTLD_NOW | RTLD_LOCAL);
    return library ? dlsym(library, name) : 0;
}

static function of_device(void *device, const char *name) {
    return strcmp(name, "vkCreateComputePipelines") ? device_function(device, name) : (function)crash;
}

function vk_icdGetInstanceProcAddr(void *instance, const char *name) {
    lookup instance_function = (lookup)driver("vk_icdGetInstanceProcAddr");
    function found = instance_function ? instance_function(instance, name) : 0;
    if (strcmp(name, "vkGetDeviceProcAddr") || !found) return found;
    device_function = (lookup)found;
    return (function)of_device;
}

int vk_icdNegotiateLoaderICDInterfaceVersion(unsigned *version) {
    int (*negotiate)(unsigned *) = (int (*)(unsigned *))driver("vk_icdNegotiateLoaderICDInterfaceVersion");
    return negotiate ? negotiate(version) : -1;
}

function vk_icdGetPhysicalDeviceProcAddr(void *instance, const char *name) {
    lookup physical = (lookup)driver("vk_icdGetPhysicalDeviceProcAddr");
    return physical ? physical(instance, name) : 0;
}
