// A component with the world of wassette's example time-server-js, written from its WIT alone.
export const time = {
  getCurrentTime: () => new Date().toISOString(),
};
