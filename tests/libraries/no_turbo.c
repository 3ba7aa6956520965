/*
 * For LD_PRELOAD: libmicrohttpd as if it had no MHD_USE_TURBO. It then shuts a socket down when it is done with it,
 * which is what any version might do that does not keep to what the start-up check looks for.
 */
#include <microhttpd.h>
#include <stdarg.h>

__attribute__((visibility("default"))) struct MHD_Daemon *
MHD_start_daemon(unsigned int flags, uint16_t port, MHD_AcceptPolicyCallback accept_policy, void *accept_context,
                 MHD_AccessHandlerCallback handler, void *handler_context, ...)
{
    va_list options;
    va_start(options, handler_context);
    struct MHD_Daemon *daemon = MHD_start_daemon_va(flags & ~(unsigned int)MHD_USE_TURBO, port, accept_policy,
                                                    accept_context, handler, handler_context, options);
    va_end(options);
    return daemon;
}
